"""The secret rotation: three rounds of permutation, sign flips and Walsh-Hadamard transforms.

An orthogonal map that preserves every distance and hides which coordinate means what. Where d is
no power of two, the transforms work on blocks: the powers of two that d is the sum of. It is
computed in float64 with additions in a fixed order, so that its float32 matrix is the same on
every machine; up to 4096 dimensions that matrix is kept and a batch costs one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crag_core.vectors.keystream import IV_BYTES, Keystream

ROUNDS = 3
DENSE_LIMIT = 4096
_COLUMNS = 128

Columns = NDArray[np.float64]


class Rotation:
    """A keyed orthogonal map of R^d.

    Args:
        key: 32 bytes.
        dimension: d, at least 1.
    """

    __slots__ = ("_blocks", "_matrix", "_orders", "_signs", "dimension")

    def __init__(self, key: bytes, dimension: int) -> None:
        self.dimension = dimension
        powers = (1 << bit for bit in reversed(range(dimension.bit_length())))
        self._blocks = [power for power in powers if dimension & power]
        stream = Keystream(key, 8 * dimension + -(-dimension // 8))
        self._orders: list[NDArray[np.intp]] = []
        self._signs: list[Columns] = []
        for index in range(ROUNDS):
            material = stream.bytes_for(bytes(IV_BYTES - 1) + bytes([index]))
            sort_keys = np.frombuffer(material, dtype="<u8", count=dimension)
            packed = np.frombuffer(material, dtype=np.uint8, offset=8 * dimension)
            bits = np.unpackbits(packed, count=dimension, bitorder="little")
            self._orders.append(np.argsort(sort_keys, kind="stable"))
            self._signs.append(np.where(bits, -1.0, 1.0)[:, None])
        self._matrix: NDArray[np.float32] | None = None
        if dimension <= DENSE_LIMIT:
            self._matrix = self._dense()

    def forward(
        self, vectors: NDArray[np.float32], out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]:
        """Rotate float32[n, d]; into ``out`` where given."""
        if self._matrix is not None:
            product: NDArray[np.float32] = np.matmul(vectors, self._matrix, out=out)
            return product
        return self._blockwise(self._apply, vectors, out)

    def backward(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo :meth:`forward` on float32[n, d]."""
        if self._matrix is not None:
            product: NDArray[np.float32] = np.matmul(vectors, self._matrix.T)
            return product
        return self._blockwise(self._undo, vectors, None)

    def _blockwise(
        self,
        step: Callable[[Columns], Columns],
        vectors: NDArray[np.float32],
        out: NDArray[np.float32] | None,
    ) -> NDArray[np.float32]:
        result = np.empty(vectors.shape, dtype=np.float32) if out is None else out
        for start in range(0, len(vectors), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            columns = np.ascontiguousarray(vectors[part].T, dtype=np.float64)
            result[part] = step(columns).T
        return result

    def _dense(self) -> NDArray[np.float32]:
        matrix = np.empty((self.dimension, self.dimension), dtype=np.float32)
        for start in range(0, self.dimension, _COLUMNS):
            width = min(_COLUMNS, self.dimension - start)
            basis = np.zeros((self.dimension, width))
            basis[np.arange(start, start + width), np.arange(width)] = 1.0
            matrix[start : start + width] = self._apply(basis).T
        matrix.setflags(write=False)
        return matrix

    def _apply(self, columns: Columns) -> Columns:
        for order, sign in zip(self._orders, self._signs, strict=True):
            columns = columns[order]
            columns *= sign
            self._mix(columns)
        return columns

    def _undo(self, columns: Columns) -> Columns:
        for order, sign in zip(reversed(self._orders), reversed(self._signs), strict=True):
            self._mix(columns)
            columns *= sign
            restored = np.empty_like(columns)
            restored[order] = columns
            columns = restored
        return columns

    def _mix(self, columns: Columns) -> None:
        start = 0
        for size in self._blocks:
            _hadamard(columns[start : start + size])
            start += size

    def __repr__(self) -> str:
        return f"Rotation(***, dimension={self.dimension})"


def _hadamard(columns: Columns) -> None:
    """Normalised Walsh-Hadamard transform of every column, in place; rows are a power of two."""
    rows = len(columns)
    half = 1
    while half < rows:
        pairs = columns.reshape(rows // (2 * half), 2, half, -1)
        upper, lower = pairs[:, 0], pairs[:, 1]
        difference = upper - lower
        upper += lower
        lower[...] = difference
        half *= 2
    columns *= 1.0 / math.sqrt(rows)
