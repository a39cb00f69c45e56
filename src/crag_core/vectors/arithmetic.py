"""Rotation and noise on batches of vectors, by numpy or by the compiled kernel: the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crag_core.vectors.noise import BallNoise
from crag_core.vectors.rotation import Rotation

_ROWS = 384
_VALUES = 1 << 22
# Sums of which an inner product is made.
LANES = 16
# Of rows that are worked on at a time: what malloc takes from the system anew each time is slower.
SCRATCH_BYTES = 96 * 1024

Vectors = NDArray[np.float32]


class Arithmetic(Protocol):
    """What the cipher computes with.

    Arrays are C-contiguous, of native byte order, and checked by the caller; n may be 0.
    """

    @property
    def compiled(self) -> bool:
        """Whether this is the compiled kernel."""

    def forward(self, rotation: Rotation, vectors: Vectors) -> Vectors:
        """Rotate float32[n, d]."""

    def backward(self, rotation: Rotation, vectors: Vectors) -> Vectors:
        """Undo :meth:`forward` on float32[n, d]."""

    def encrypt(
        self,
        rotation: Rotation,
        noise: BallNoise,
        vectors: Vectors,
        ivs: NDArray[np.uint8],
        scale: float,
        out: NDArray[Any],
    ) -> None:
        """``scale * Q(x) + noise`` of float32[n, d] and uint8[n, 12] to float16|float32[n, d]."""

    def denoise(
        self, noise: BallNoise, values: NDArray[Any], ivs: NDArray[np.uint8], scale: float
    ) -> Vectors:
        """``(values - noise) / scale``, float32[n, d] of float16|float32[n, d]."""

    def scores(
        self,
        noise: BallNoise,
        values: NDArray[Any],
        ivs: NDArray[np.uint8],
        scale: float,
        query: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Inner products float32[n] of ``query``, float32[d], with each row of :meth:`denoise`."""


def parts(rows: int, dimension: int, step: int | None = None) -> Iterator[slice]:
    """Cut ``rows`` of a batch so that what is computed of a part stays in a processor's cache.

    Args:
        step: rows of a part, where another number is better.
    """
    step = step or min(_ROWS, _VALUES // dimension)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def inner_products(vectors: Vectors, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32[n] of float32[n, d] and float32[d], summed in an order that the kernel keeps too:
    coordinates whose numbers are equal modulo 16, then these 16 sums by halves.
    """
    count, dimension = vectors.shape
    sums = np.zeros((count, LANES), dtype=np.float32)
    for start in range(0, dimension, LANES):
        products = vectors[:, start : start + LANES] * query[start : start + LANES]
        sums[:, : products.shape[1]] += products
    half = LANES // 2
    while half:
        sums[:, :half] += sums[:, half : 2 * half]
        half //= 2
    return sums[:, 0].copy()


class NumpyArithmetic:
    """By numpy alone."""

    compiled = False

    def forward(self, rotation: Rotation, vectors: Vectors) -> Vectors:
        return rotation.forward(vectors)

    def backward(self, rotation: Rotation, vectors: Vectors) -> Vectors:
        return rotation.backward(vectors)

    def encrypt(
        self,
        rotation: Rotation,
        noise: BallNoise,
        vectors: Vectors,
        ivs: NDArray[np.uint8],
        scale: float,
        out: NDArray[Any],
    ) -> None:
        rows = min(_ROWS, len(vectors))
        batch = noise.batch(rows)
        buffer = np.empty((rows, rotation.dimension), dtype=np.float32)
        for part in parts(len(vectors), rotation.dimension):
            target = buffer[: part.stop - part.start]
            rotation.forward(vectors[part], out=target)
            if scale != 1.0:
                target *= np.float32(scale)
            batch.add_to(target, ivs[part])
            out[part] = target

    def denoise(
        self, noise: BallNoise, values: NDArray[Any], ivs: NDArray[np.uint8], scale: float
    ) -> Vectors:
        plain = np.array(values, dtype=np.float32)
        batch = noise.batch(min(_ROWS, len(plain)))
        for part in parts(len(plain), noise.dimension):
            batch.subtract_from(plain[part], ivs[part])
        if scale != 1.0:
            plain /= np.float32(scale)
        return plain

    def scores(
        self,
        noise: BallNoise,
        values: NDArray[Any],
        ivs: NDArray[np.uint8],
        scale: float,
        query: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        made = np.empty(len(values), dtype=np.float32)
        step = max(1, SCRATCH_BYTES // (4 * noise.dimension))
        for start in range(0, len(values), step):
            part = slice(start, start + step)
            with np.errstate(invalid="ignore", over="ignore"):
                plain = self.denoise(noise, values[part], ivs[part], scale)
                made[part] = inner_products(plain, query)
        return made
