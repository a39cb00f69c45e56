"""The secret rotation: three rounds of permutation, sign flips and Walsh-Hadamard transforms.

An orthogonal map that preserves every distance and hides which coordinate means what. Where d is
no power of two, the transforms work on blocks: the powers of two that d is the sum of. It is
computed in float32 with each addition in its fixed place, never by a matrix product, whose last
bits depend on the library: so rotated vectors are the same bits on every machine, in a batch of any
size (``docs/reference/formats.md``, section 5).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crag_core.vectors.keystream import IV_BYTES, Keystream

ROUNDS = 3
_COLUMNS = 384
_VALUES = 1 << 22
# Fewer columns than this make loops too short for numpy; then coordinates take the columns' place.
_NARROW = 16

Columns = NDArray[np.float32]


class Rotation:
    """A keyed orthogonal map of R^d.

    Args:
        key: 32 bytes.
        dimension: d, at least 1.
    """

    __slots__ = ("_orders", "dimension", "factors", "orders")

    def __init__(self, key: bytes, dimension: int) -> None:
        self.dimension = dimension
        stream = Keystream(key, 8 * dimension + -(-dimension // 8))
        self._orders: list[NDArray[np.intp]] = []
        signs = []
        for index in range(ROUNDS):
            material = stream.bytes_for(bytes(IV_BYTES - 1) + bytes([index]))
            sort_keys = np.frombuffer(material, dtype="<u8", count=dimension)
            packed = np.frombuffer(material, dtype=np.uint8, offset=8 * dimension)
            bits = np.unpackbits(packed, count=dimension, bitorder="little")
            self._orders.append(np.argsort(sort_keys, kind="stable"))
            signs.append(np.where(bits, np.float32(-1.0), np.float32(1.0)))
        self.orders: NDArray[np.uint16] = np.array(self._orders, dtype=np.uint16)
        self.factors: Columns = np.array(signs, dtype=np.float32) * _scales(dimension)

    def forward(self, vectors: Columns, out: Columns | None = None) -> Columns:
        """Rotate float32[n, d]; into ``out`` where given."""
        return self._by_columns(vectors, out, backward=False)

    def backward(self, vectors: Columns) -> Columns:
        """Undo :meth:`forward` on float32[n, d], but for the rounding."""
        return self._by_columns(vectors, None, backward=True)

    def _by_columns(self, vectors: Columns, out: Columns | None, *, backward: bool) -> Columns:
        result = np.empty(vectors.shape, dtype=np.float32) if out is None else out
        step = min(_COLUMNS, _VALUES // self.dimension, max(1, len(vectors)))
        buffers = np.empty((2, self.dimension * step), dtype=np.float32)
        for start in range(0, len(vectors), step):
            rows = vectors[start : start + step]
            size, shape = rows.size, (self.dimension, len(rows))
            first, second = buffers[0, :size].reshape(shape), buffers[1, :size].reshape(shape)
            first[...] = rows.T
            turned = self._undo(first, second) if backward else self._apply(first, second)
            result[start : start + step] = turned.T
        return result

    def _apply(self, values: Columns, spare: Columns) -> Columns:
        for order, factor in zip(self._orders, self.factors, strict=True):
            np.take(values, order, axis=0, out=spare, mode="clip")
            spare *= factor[:, None]
            values, spare = _mix(spare, values)
        return values

    def _undo(self, values: Columns, spare: Columns) -> Columns:
        for order, factor in zip(reversed(self._orders), self.factors[::-1], strict=True):
            values, spare = _mix(values, spare)
            values *= factor[:, None]
            spare[order] = values
            values, spare = spare, values
        return values

    def __repr__(self) -> str:
        return f"Rotation(***, dimension={self.dimension})"


def _blocks(dimension: int) -> list[int]:
    """The powers of two that ``dimension`` is the sum of, the largest first."""
    powers = (1 << bit for bit in reversed(range(dimension.bit_length())))
    return [power for power in powers if dimension & power]


def _scales(dimension: int) -> Columns:
    """float32[d]: one over the root of the size of each coordinate's block."""
    return np.concatenate(
        [np.full(size, 1.0 / math.sqrt(size), dtype=np.float32) for size in _blocks(dimension)]
    )


def _mix(values: Columns, spare: Columns) -> tuple[Columns, Columns]:
    """Walsh-Hadamard transforms of the blocks of every column: the result, and what is free now."""
    dimension, count = values.shape
    inner = min(_NARROW, dimension & -dimension) if count < _NARROW else 1
    if inner > 1:
        # all blocks are multiples of `inner`: the first levels, with it as the first axis
        split = values.reshape(-1, inner, count)
        across, free = spare.reshape(inner, -1), values.reshape(inner, -1)
        across.reshape(inner, -1, count)[...] = split.transpose(1, 0, 2)
        mixed, _ = _levels(across, free, 1)
        if mixed is across:
            values, spare = spare, values
        joined = spare.reshape(-1, inner, count)
        joined[...] = mixed.reshape(inner, -1, count).transpose(1, 0, 2)
        values, spare = spare, values
    return _levels(values, spare, inner)


def _levels(values: Columns, spare: Columns, half: int) -> tuple[Columns, Columns]:
    """The levels of the transforms from ``half`` on, to and fro between the two buffers."""
    dimension = len(values)
    while 2 * half <= dimension:
        # the blocks that have this level come first, and their total is a multiple of 2 * half
        whole = dimension & -(2 * half)
        pairs = values[:whole].reshape(whole // (2 * half), 2, half, -1)
        mixed = spare[:whole].reshape(pairs.shape)
        np.add(pairs[:, 0], pairs[:, 1], out=mixed[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], out=mixed[:, 1])
        if whole < dimension:
            spare[whole:] = values[whole:]
        values, spare = spare, values
        half *= 2
    return values, spare
