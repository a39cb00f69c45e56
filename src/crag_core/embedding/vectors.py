"""Check what an embedder returned before anything is encrypted with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def unit_rows(raw: ArrayLike) -> NDArray[np.float32]:
    """Rows of ``raw`` (n x d numbers) scaled to norm 1, as contiguous float32[n, d].

    Raises:
        ValueError: not a matrix, a number is not finite, or a row is zero.
    """
    matrix = np.ascontiguousarray(raw, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise ValueError("it is no matrix")
    if not np.isfinite(matrix).all():
        raise ValueError("a number in it is not finite")
    # Scaled by the largest entry first, so that the squares neither overflow nor vanish.
    peak = np.abs(matrix).max(axis=1, initial=0.0, keepdims=True)
    if (peak == 0).any():
        raise ValueError("a row of it is zero")
    matrix = matrix / peak
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.ascontiguousarray(matrix / norms, dtype=np.float32)
