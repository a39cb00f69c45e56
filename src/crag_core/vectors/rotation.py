"""The secret rotation: three rounds of permutation, sign flips and Walsh-Hadamard transforms.

An orthogonal map that preserves every distance and hides which coordinate means what. Where d is
no power of two, the transforms work on blocks: the powers of two that d is the sum of. It is
computed in float32 with each addition in its fixed place, never by a matrix product, whose last
bits depend on the library: so rotated vectors are the same bits on every machine, in a batch of any
size (``docs/reference/formats.md``, section 5).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crag_core.vectors.keystream import IV_BYTES, Keystream

ROUNDS = 3
_COLUMNS = 480
_VALUES = 1 << 22
# Rows whose distance in memory is a multiple of 4096 bytes displace each other from the cache when
# they are transposed, so they are copied that many values further apart first.
_PADDING = 16
# Fewer columns than this make loops too short for numpy; then coordinates take the columns' place.
_NARROW = 16

Columns = NDArray[np.float32]
Step = tuple[Callable[..., Any], tuple[Any, ...]]


class Rotation:
    """A keyed orthogonal map of R^d.

    Args:
        key: 32 bytes.
        dimension: d, at least 1.
    """

    __slots__ = ("_lock", "_single", "dimension", "factors", "orders")

    def __init__(self, key: bytes, dimension: int) -> None:
        self.dimension = dimension
        stream = Keystream(key, 8 * dimension + -(-dimension // 8))
        orders, signs = [], []
        for index in range(ROUNDS):
            material = stream.bytes_for(bytes(IV_BYTES - 1) + bytes([index]))
            sort_keys = np.frombuffer(material, dtype="<u8", count=dimension)
            packed = np.frombuffer(material, dtype=np.uint8, offset=8 * dimension)
            bits = np.unpackbits(packed, count=dimension, bitorder="little")
            orders.append(np.argsort(sort_keys, kind="stable"))
            signs.append(np.where(bits, np.float32(-1.0), np.float32(1.0)))
        self.orders: NDArray[np.uint16] = np.array(orders, dtype=np.uint16)
        self.factors: Columns = np.array(signs, dtype=np.float32) * _scales(dimension)
        self._lock = threading.Lock()
        self._single: dict[bool, _Program] = {}

    def forward(self, vectors: Columns, out: Columns | None = None) -> Columns:
        """Rotate float32[n, d]; into ``out`` where given."""
        return self._by_columns(vectors, out, backward=False)

    def backward(self, vectors: Columns) -> Columns:
        """Undo :meth:`forward` on float32[n, d], but for the rounding."""
        return self._by_columns(vectors, None, backward=True)

    def _by_columns(self, vectors: Columns, out: Columns | None, *, backward: bool) -> Columns:
        result = np.empty(vectors.shape, dtype=np.float32) if out is None else out
        if len(vectors) == 1:
            with self._lock:
                program = self._single.get(backward) or _Program(self, 1, backward=backward)
                self._single[backward] = program
                program.run(vectors, result)
            return result
        step = min(_COLUMNS, _VALUES // self.dimension)
        for start in range(0, len(vectors), step):
            rows = vectors[start : start + step]
            if start == 0 or len(rows) != program.count:
                program = _Program(self, len(rows), backward=backward)
            program.run(rows, result[start : start + step])
        return result

    def __repr__(self) -> str:
        return f"Rotation(***, dimension={self.dimension})"


class _Program:
    """The steps of the rotation of ``count`` vectors, each a function of numpy and its arguments.

    The views that they work on are made once, which would take half the time of a single vector.
    """

    __slots__ = ("_free", "_steps", "_values", "count", "entry", "exit")

    def __init__(self, rotation: Rotation, count: int, *, backward: bool) -> None:
        size = rotation.dimension * count
        buffers = np.empty((2, size + _PADDING * count), dtype=np.float32)
        self.count = count
        self.entry = buffers[1].reshape(count, -1)[:, : rotation.dimension]
        self._values, self._free = buffers[:, :size].reshape(2, rotation.dimension, count)
        self._steps: list[Step] = [(np.copyto, (self._values, self.entry.T))]
        rounds = zip(rotation.orders.astype(np.intp), rotation.factors, strict=True)
        if backward:
            for order, factor in reversed(list(rounds)):
                self._mix()
                self._multiply(factor)
                self._take(np.argsort(order))
        else:
            for order, factor in rounds:
                self._take(order)
                self._multiply(factor)
                self._mix()
        self.exit = self._values.T

    def run(self, vectors: Columns, out: Columns) -> None:
        """Rotate float32[count, d] into ``out``."""
        self.entry[...] = vectors
        for function, arguments in self._steps:
            function(*arguments)
        out[...] = self.exit

    def _turn(self) -> None:
        self._values, self._free = self._free, self._values

    def _take(self, order: NDArray[np.intp]) -> None:
        self._steps.append((np.take, (self._values, order, 0, self._free, "clip")))
        self._turn()

    def _multiply(self, factor: Columns) -> None:
        self._steps.append((np.multiply, (self._values, factor[:, None], self._values)))

    def _mix(self) -> None:
        """Walsh-Hadamard transforms of the blocks of every column."""
        dimension = len(self._values)
        inner = min(_NARROW, dimension & -dimension) if self.count < _NARROW else 1
        if inner > 1:
            # all blocks are multiples of `inner`: the first levels, with it as the first axis
            self._transpose(dimension // inner, inner)
            self._levels(1, inner, dimension // inner * self.count)
            self._transpose(inner, dimension // inner)
        self._levels(inner, dimension, self.count)

    def _transpose(self, rows: int, columns: int) -> None:
        turned = self._free.reshape(columns, rows, self.count)
        given = self._values.reshape(rows, columns, self.count).transpose(1, 0, 2)
        self._steps.append((np.copyto, (turned, given)))
        self._turn()

    def _levels(self, half: int, rows: int, width: int) -> None:
        """The levels from ``half`` on of ``rows`` rows, to and fro between the two buffers."""
        while 2 * half <= rows:
            # the blocks that have this level come first, and their total is a multiple of 2 * half
            whole = rows & -(2 * half)
            given, made = self._values.reshape(rows, width), self._free.reshape(rows, width)
            pairs = given[:whole].reshape(-1, 2, half, width)
            mixed = made[:whole].reshape(-1, 2, half, width)
            for function, target in ((np.add, mixed[:, 0]), (np.subtract, mixed[:, 1])):
                self._steps.append((function, (pairs[:, 0], pairs[:, 1], target)))
            if whole < rows:
                self._steps.append((np.copyto, (made[whole:], given[whole:])))
            self._turn()
            half *= 2


def _blocks(dimension: int) -> list[int]:
    """The powers of two that ``dimension`` is the sum of, the largest first."""
    powers = (1 << bit for bit in reversed(range(dimension.bit_length())))
    return [power for power in powers if dimension & power]


def _scales(dimension: int) -> Columns:
    """float32[d]: one over the root of the size of each coordinate's block."""
    return np.concatenate(
        [np.full(size, 1.0 / math.sqrt(size), dtype=np.float32) for size in _blocks(dimension)]
    )
