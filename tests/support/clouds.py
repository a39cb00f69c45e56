"""Synthetic vectors shaped like a text embedder's: a narrow cone, clustered, falling spectrum."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]


def cloud(
    rows: int, dimension: int = 64, topics: int = 12, seed: int = 0
) -> tuple[Matrix, list[int]]:
    """Unit vectors float32[rows, dimension] and the topic of each.

    As of multilingual-e5: a large common mean, topics around it, skewed coordinates, most variance
    in few directions.
    """
    shape = np.random.default_rng(99)
    scale = np.linspace(1.0, 0.1, dimension) ** 1.5
    axes = np.linalg.qr(shape.standard_normal((dimension, dimension)))[0]
    mean = 2.4 * axes[:, 0] + 0.3 * shape.standard_normal(dimension) / np.sqrt(dimension)
    centres = (shape.gamma(1.0, 1.0, (topics, dimension)) - 1.0) * scale
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, topics, rows)
    spread = (rng.gamma(1.0, 1.0, (rows, dimension)) - 1.0) * scale
    points = mean + 0.25 * (0.7 * centres[chosen] + 0.9 * spread) @ axes.T
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit.astype(np.float32), [int(topic) for topic in chosen]
