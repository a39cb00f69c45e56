"""The linear algebra that the attacks share: matching, orthogonal fits, frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Indices = NDArray[np.intp]


def unit(rows: Any) -> Matrix:
    """Rows scaled to norm 1, float32[n, d]; a zero row stays zero."""
    found = np.asarray(rows, dtype=np.float32)
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(norms, 1e-12), dtype=np.float32)


def procrustes(source: Matrix, target: Matrix) -> Matrix:
    """The orthogonal R float32[d, d] of least ``|source @ R - target|`` (Schoenemann 1966)."""
    u, _, vt = np.linalg.svd(source.T.astype(np.float64) @ target.astype(np.float64))
    return np.asarray(u @ vt, dtype=np.float32)


def ridge(source: Matrix, target: Matrix, penalty: float) -> Matrix:
    """The linear R float32[d, d] that minimises ``|source @ R - target|^2 + penalty |R|^2``."""
    wide = source.astype(np.float64)
    gram = wide.T @ wide
    gram[np.diag_indices_from(gram)] += penalty
    return np.asarray(np.linalg.solve(gram, wide.T @ target), dtype=np.float32)


def squared_distances(left: Matrix, right: Matrix) -> Matrix:
    """``|left_i - right_j|^2`` float32[n, m], not negative."""
    result = left @ right.T
    result *= -2.0
    result += np.einsum("ij,ij->i", left, left)[:, None]
    result += np.einsum("ij,ij->i", right, right)[None, :]
    return np.asarray(np.maximum(result, 0.0, out=result), dtype=np.float32)


def nearest(left: Matrix, right: Matrix) -> Indices:
    """For each row of ``left`` the index of the nearest row of ``right``."""
    shifted = left @ right.T
    shifted -= 0.5 * np.einsum("ij,ij->i", right, right)[None, :]
    return np.asarray(shifted.argmax(axis=1), dtype=np.intp)


def best_products(left: Matrix, right: Matrix) -> Indices:
    """For each row of ``left`` the row of ``right`` with the greatest inner product."""
    return np.asarray((left @ right.T).argmax(axis=1), dtype=np.intp)


def mutual(left: Matrix, right: Matrix) -> tuple[Indices, Indices, Matrix]:
    """Pairs that are each other's nearest: rows of left, rows of right, squared distances."""
    distances = squared_distances(left, right)
    forward = distances.argmin(axis=1)
    back = distances.argmin(axis=0)
    rows = np.flatnonzero(back[forward] == np.arange(len(left)))
    columns = forward[rows]
    return rows, columns, distances[rows, columns]


def principal(centred: Matrix) -> tuple[NDArray[np.float64], Matrix]:
    """Eigenvalues float64[d] of the covariance, falling; its eigenvectors, columns of [d, d]."""
    wide = centred.astype(np.float64)
    values, vectors = np.linalg.eigh(wide.T @ wide / max(len(wide), 1))
    return values[::-1].copy(), np.asarray(vectors[:, ::-1], dtype=np.float32)


def hit_rate(found: Indices, truth: Indices) -> float:
    """The share of guesses that are right; 0 where there is none to make."""
    return float(np.mean(found == truth)) if len(truth) else 0.0
