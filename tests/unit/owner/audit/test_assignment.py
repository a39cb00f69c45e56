"""The assignment against trying every permutation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_owner.audit.assignment import assign


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_no_permutation_is_cheaper(size: int, seed: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    costs = rng.integers(0, 4, (size, size)) if ties else rng.standard_normal((size, size))
    found = assign(costs)
    assert sorted(found) == list(range(size))
    cheapest = min(
        sum(costs[row, order[row]] for row in range(size))
        for order in itertools.permutations(range(size))
    )
    assert costs[np.arange(size), found].sum() == pytest.approx(cheapest)


def test_a_hidden_permutation_of_many_coordinates_is_found() -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(384)
    costs = rng.random((384, 384)) + 1.0
    costs[np.arange(384), order] = 0.5
    assert np.array_equal(assign(costs), order)


@pytest.mark.parametrize("costs", [np.zeros((2, 3)), np.zeros(4), [[np.nan]], [[np.inf]]])
def test_what_is_no_square_of_numbers_is_refused(costs: object) -> None:
    with pytest.raises(ValueError, match="square"):
        assign(costs)
