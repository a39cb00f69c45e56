"""A keyed coordinate shuffle is undone from other texts; unrelated statistics undo nothing."""

from __future__ import annotations

import numpy as np

from crag_owner.audit import shuffle
from crag_owner.audit.linear import Matrix, hit_rate
from crag_owner.audit.schemes import shuffled
from support.clouds import cloud

ROWS, DIMENSION = 600, 64


def _halves() -> tuple[Matrix, Matrix, Matrix]:
    texts, _ = cloud(2 * ROWS, DIMENSION)
    return texts, texts[:ROWS], texts[ROWS:]


def test_other_texts_undo_the_shuffle_without_key_or_pair() -> None:
    texts, own, other = _halves()
    for factor in (0.5, 1.0):
        rows = shuffled(own, factor, np.random.default_rng(1))
        found = shuffle.recover(rows, other, texts, factor)
        rates = [
            hit_rate(shuffle.guess(rows, order, texts), np.arange(ROWS))
            for order in (found.moments, found.covariance, found.closest)
        ]
        assert rates[2] > 0.95
        assert rates[1] >= rates[0]


def test_texts_of_unrelated_statistics_undo_nothing() -> None:
    texts, own, _ = _halves()
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((ROWS, DIMENSION)).astype(np.float32)
    other = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    rows = shuffled(own, 1.0, rng)
    found = shuffle.recover(rows, other, other, 1.0)
    assert hit_rate(shuffle.guess(rows, found.covariance, texts), np.arange(ROWS)) < 0.05


def test_every_stage_gives_a_permutation() -> None:
    texts, own, other = _halves()
    found = shuffle.recover(shuffled(own, 4.0, np.random.default_rng(3)), other, texts, 4.0)
    for order in (found.moments, found.covariance, found.closest):
        assert sorted(order) == list(range(DIMENSION))
