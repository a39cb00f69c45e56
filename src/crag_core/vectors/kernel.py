"""The optional distribution ``crag-kernel``: the one place that looks for it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from crag_core.vectors.arithmetic import SCRATCH_BYTES, Arithmetic, NumpyArithmetic, parts
from crag_core.vectors.noise import BallNoise, noise_integers
from crag_core.vectors.rotation import Rotation

if TYPE_CHECKING:
    from types import ModuleType

# Of the functions of crag_kernel._native; another version of them is not used.
INTERFACE = 2

Vectors = NDArray[np.float32]


@functools.cache
def native() -> ModuleType | None:
    """The compiled module, or None where crag-kernel is not installed or not of this version."""
    try:
        from crag_kernel import _native
    except ImportError:
        return None
    return _native if _native.INTERFACE == INTERFACE else None


def fastest() -> Arithmetic:
    """The compiled kernel where it is installed, else numpy; both compute the same bits."""
    found = native()
    return NumpyArithmetic() if found is None else KernelArithmetic(found)


class KernelArithmetic:
    """By the compiled kernel.

    Args:
        module: ``crag_kernel._native``.
        level: which of its ``LEVELS``, sets of instructions that this processor has; the last by
            default, which is the fastest.
    """

    __slots__ = ("_level", "_module")

    compiled = True

    def __init__(self, module: ModuleType, level: int | None = None) -> None:
        self._module = module
        self._level = len(module.LEVELS) - 1 if level is None else level

    def forward(self, rotation: Rotation, vectors: Vectors) -> Vectors:
        out = np.empty_like(vectors)
        self._module.forward(self._level, vectors, rotation.orders, rotation.factors, out)
        return out

    def backward(self, rotation: Rotation, vectors: Vectors) -> Vectors:
        out = np.empty_like(vectors)
        self._module.backward(self._level, vectors, rotation.orders, rotation.factors, out)
        return out

    def encrypt(
        self,
        rotation: Rotation,
        noise: BallNoise,
        vectors: Vectors,
        ivs: NDArray[np.uint8],
        scale: float,
        out: NDArray[Any],
    ) -> None:
        for part, words in self._words(noise, ivs):
            self._module.encrypt(
                self._level,
                vectors[part],
                words,
                rotation.orders,
                rotation.factors,
                noise_integers(),
                noise.radius,
                scale,
                out[part],
            )

    def denoise(
        self, noise: BallNoise, values: NDArray[Any], ivs: NDArray[np.uint8], scale: float
    ) -> Vectors:
        out = np.empty(values.shape, dtype=np.float32)
        for part, words in self._words(noise, ivs):
            self._module.denoise(
                self._level, values[part], words, noise_integers(), noise.radius, scale, out[part]
            )
        return out

    def scores(
        self,
        noise: BallNoise,
        values: NDArray[Any],
        ivs: NDArray[np.uint8],
        scale: float,
        query: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        out = np.empty((len(values), 1), dtype=np.float32)
        step = max(1, SCRATCH_BYTES // (2 * noise.dimension))
        asked = query[None]
        for part, words in self._words(noise, ivs, step):
            self._module.scores(
                self._level,
                values[part],
                words,
                noise_integers(),
                noise.radius,
                scale,
                asked,
                out[part],
            )
        return out[:, 0]

    def _words(
        self, noise: BallNoise, ivs: NDArray[np.uint8], step: int | None = None
    ) -> Iterator[tuple[slice, NDArray[np.uint16] | None]]:
        """Parts of a batch, each with its keystreams until the next; None if without noise."""
        cut = list(parts(len(ivs), noise.dimension, step))
        if not noise.radius:
            yield from ((part, None) for part in cut)
        elif cut:
            batch = noise.stream.batch(cut[0].stop)
            yield from ((part, batch.words(ivs[part])) for part in cut)

    def __repr__(self) -> str:
        return f"KernelArithmetic({self._module.LEVELS[self._level]})"
