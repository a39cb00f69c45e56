"""Spread of vectors, noise in relation to it, and the recall that is left after re-ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]

K = 10
FETCHES = (10, 20, 50, 100, 200, 400, 1000)
_BLOCK = 4096


@dataclass(frozen=True)
class Recall:
    """Recall of the nearest rows after exact re-ranking of those that the database fetched.

    ``at`` maps K' to the share of the true ``k`` nearest that are among the K' that
    are nearest by encrypted distance.
    """

    approximation_factor: float
    rho: float
    at: dict[int, float]


def spread(vectors: Matrix) -> float:
    """The root mean square distance of the vectors from their mean: what tells texts apart."""
    centred = vectors - vectors.mean(axis=0, dtype=np.float64)
    return float(np.sqrt(np.mean(np.einsum("ij,ij->i", centred, centred))))


def noise_to_spread(approximation_factor: float, rms: float) -> float:
    """rho = beta / (4 RMS): the figure in which collections and models can be compared."""
    return approximation_factor / (4.0 * rms) if rms > 0.0 else float("inf")


def recall(
    vectors: Matrix,
    questions: Matrix | None,
    factors: Sequence[float],
    rng: np.random.Generator,
    fetches: Sequence[int] = FETCHES,
    k: int = K,
    sample: int = 500,
) -> list[Recall]:
    """Measure recall@k against K' for each approximation factor, with row and question perturbed.

    The rotation is left out: it changes no distance.

    Args:
        vectors: plaintexts float32[n, d] of all rows that a search would see.
        questions: float32[q, d], or None to ask with up to ``sample`` of the rows, each without
            itself among its answers.
        factors: approximation factors.
        rng: draws noise and sample.
        fetches: the K' to measure.
        k: hits wanted.
        sample: how many questions at most.
    """
    own = questions is None
    pool = vectors if questions is None else questions
    chosen = np.sort(rng.permutation(len(pool))[:sample])
    asked = np.ascontiguousarray(pool[chosen])
    itself = chosen if own else None
    wanted = min(k, len(vectors) - (1 if own else 0))
    rms = spread(vectors)
    exact = _nearest(_distances(asked, vectors, 0.0, rng), itself, [wanted])[wanted]
    sizes = sorted({max(wanted, min(fetch, len(vectors))) for fetch in fetches})
    found = []
    for factor in factors:
        noisy_questions = asked + _noise(asked.shape, factor, rng)
        distances = _distances(noisy_questions, vectors, factor, rng)
        fetched = _nearest(distances, itself, sizes)
        rates = {}
        for fetch in fetches:
            rows = fetched[max(wanted, min(fetch, len(vectors)))]
            pairs = zip(exact, rows, strict=True)
            hits = sum(np.isin(truth, row, assume_unique=True).sum() for truth, row in pairs)
            rates[fetch] = float(hits) / max(exact.size, 1)
        found.append(Recall(float(factor), noise_to_spread(factor, rms), rates))
    return found


def _noise(shape: tuple[int, ...], factor: float, rng: np.random.Generator) -> Matrix:
    """Uniform in the ball of radius factor / 4, as the cipher's."""
    normal = rng.standard_normal((shape[0], shape[1] + 2), dtype=np.float32)
    normal *= (factor / 4.0) / np.linalg.norm(normal, axis=1, keepdims=True)
    return normal[:, : shape[1]]


def _distances(
    questions: Matrix, vectors: Matrix, factor: float, rng: np.random.Generator
) -> Matrix:
    """Squared distances up to a constant per question, float32[q, n]; rows perturbed by blocks."""
    result = np.empty((len(questions), len(vectors)), dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        part = slice(start, start + _BLOCK)
        rows = vectors[part]
        if factor > 0.0:
            rows = rows + _noise(rows.shape, factor, rng)
        np.matmul(questions, rows.T, out=result[:, part])
        result[:, part] *= -2.0
        result[:, part] += np.einsum("ij,ij->i", rows, rows)[None, :]
    return result


def _nearest(
    distances: Matrix, itself: NDArray[np.intp] | None, sizes: Sequence[int]
) -> dict[int, NDArray[np.intp]]:
    """The nearest rows of each question, for each size, without the question's own row."""
    if itself is not None:
        distances[np.arange(len(itself)), itself] = np.inf
    most = max(sizes)
    if most < distances.shape[1]:
        first = np.argpartition(distances, most - 1, axis=1)[:, :most]
    else:
        first = np.broadcast_to(np.arange(distances.shape[1]), distances.shape).copy()
    order = np.take_along_axis(distances, first, axis=1).argsort(axis=1, kind="stable")
    ranked = np.take_along_axis(first, order, axis=1)
    return {size: ranked[:, :size] for size in sizes}
