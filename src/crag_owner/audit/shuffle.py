"""The attack on a keyed coordinate shuffle, without key and without any known pair.

A permutation leaves the statistics of every coordinate and of every two coordinates in place. Other
texts of the same kind have nearly the same statistics, so matching them recovers the permutation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crag_owner.audit.assignment import assign
from crag_owner.audit.linear import Indices, Matrix, mutual, nearest, squared_distances

_ROUNDS = 30


@dataclass(frozen=True)
class Recovered:
    """Permutations ``rows[:, i] == plain[:, order[i]]`` after each of the attack's three stages."""

    moments: Indices
    covariance: Indices
    closest: Indices


def recover(rows: Matrix, texts: Matrix, candidates: Matrix, beta: float) -> Recovered:
    """Recover the permutation of coordinates.

    Args:
        rows: shuffled and perturbed vectors float32[n, d].
        texts: vectors float32[m, d] of other texts; none of them need be the owner's.
        candidates: vectors float32[c, d] among which the truths may be; for the last stage.
        beta: the approximation factor, which is public.
    """
    dimension = rows.shape[1]
    noise = (beta / 4.0) ** 2 / (dimension + 2)
    tolerance = 1.0 / len(rows) + 1.0 / len(texts)
    single = _moments(rows, texts, noise, tolerance)
    moments = assign(single)
    left, right = _correlations(rows, 0.0), _correlations(texts, noise)
    covariance = moments
    for _ in range(_ROUNDS):
        costs = squared_distances(left, np.ascontiguousarray(right[:, covariance]))
        before, covariance = covariance, assign(costs / tolerance + single)
        if np.array_equal(before, covariance):
            break
    closest = covariance
    for _ in range(10):
        own, other, _ = mutual(rows, np.ascontiguousarray(candidates[:, closest]))
        if not len(own):
            break
        matched = squared_distances(
            np.ascontiguousarray(rows[own].T), np.ascontiguousarray(candidates[other].T)
        )
        before, closest = closest, assign(matched)
        if np.array_equal(before, closest):
            break
    return Recovered(moments, covariance, closest)


def guess(rows: Matrix, order: Indices, candidates: Matrix) -> Indices:
    """The nearest candidate of each row under a recovered permutation."""
    return nearest(rows, np.ascontiguousarray(candidates[:, order]))


def _moments(rows: Matrix, texts: Matrix, noise: float, tolerance: float) -> NDArray[np.float64]:
    """How badly mean and variance of two coordinates agree, in squared standard errors."""
    own = np.maximum(rows.var(axis=0, dtype=np.float64), 1e-12)[:, None]
    other = np.maximum(texts.var(axis=0, dtype=np.float64) + noise, 1e-12)[None, :]
    means = rows.mean(axis=0, dtype=np.float64)[:, None] - texts.mean(axis=0, dtype=np.float64)
    return np.asarray(
        means**2 / ((own + other) / 2.0 * tolerance)
        + (np.log(own) - np.log(other)) ** 2 / (2.0 * tolerance)
    )


def _correlations(vectors: Matrix, noise: float) -> Matrix:
    """Correlations of every two coordinates float32[d, d] with a zero diagonal.

    A coordinate's correlation with itself says nothing and would hold every first guess in place.
    """
    covariance = np.cov(vectors.T.astype(np.float64))
    covariance[np.diag_indices_from(covariance)] += noise
    spread = np.sqrt(np.maximum(np.diag(covariance), 1e-12))
    result = covariance / np.outer(spread, spread)
    np.fill_diagonal(result, 0.0)
    return np.asarray(result, dtype=np.float32)
