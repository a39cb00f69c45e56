"""Sizes and common reads, against cases that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from crag_owner.audit.sizes import read_together, size_leak
from support.clouds import cloud


def test_one_size_tells_nothing_and_distinct_sizes_tell_all() -> None:
    same = size_leak([512] * 8)
    assert (same.distinct, same.entropy, same.alone, same.largest) == (1, 0.0, 0.0, 1.0)
    assert same.identified == pytest.approx(1 / 8)
    distinct = size_leak([256 * n for n in range(1, 9)])
    assert distinct.entropy == pytest.approx(3.0)
    assert (distinct.identified, distinct.alone) == (1.0, 1.0)


def test_a_mixture_is_counted_by_its_groups() -> None:
    found = size_leak([256, 256, 512, 768])
    assert (found.items, found.distinct, found.largest) == (4, 3, 0.5)
    assert found.identified == pytest.approx(0.75)
    assert found.alone == pytest.approx(0.5)
    assert found.entropy == pytest.approx(1.5)


def test_no_rows_have_no_sizes() -> None:
    assert size_leak([]).items == 0


def test_rows_of_a_topic_are_read_together_and_mixed_labels_only_by_chance() -> None:
    vectors, topics = cloud(300, 64, topics=6)
    clustered = read_together(vectors, topics, 10)
    mixed = read_together(vectors, list(np.random.default_rng(1).permutation(topics)), 10)
    assert clustered > mixed + 0.3
    assert mixed == pytest.approx(1 / 6, abs=0.06)
