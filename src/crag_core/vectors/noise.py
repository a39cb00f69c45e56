"""Keyed noise, uniform in a ball, that every machine reproduces bit for bit.

No logarithm, power, or library generator takes part: normal values come from a published table,
and what remains is integer sums, one square root, one division and one multiplication, each of
which IEEE 754 defines to the last bit.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from crag_core.errors import IntegrityViolated
from crag_core.vectors.keystream import Keystream, KeystreamBatch

TABLE_FILE = "noise_table.bin"
TABLE_ENTRIES = 65_536
TABLE_SHA256 = "f2c6324c2cb2d1eead37c99df3e51a2cc63fc6ec5d23237d65f91b17d588a7b9"
EXTRA_NORMALS = 2


@functools.cache
def noise_integers() -> NDArray[np.int16]:
    """The table ``T[i] = rint(7000 * inverse_normal_cdf((i + 0.5) / 65536))`` as int16[1, 65536].

    Raises:
        IntegrityViolated: the installed file is not the published one. With another table every
            decryption would be wrong, so nothing goes on.
    """
    raw = resources.files(__package__).joinpath(TABLE_FILE).read_bytes()
    if hashlib.sha256(raw).hexdigest() != TABLE_SHA256:
        raise IntegrityViolated(
            f"The noise table {TABLE_FILE} of crag-core is not the published one.",
            hint="Install crag-core again.",
        )
    table = np.frombuffer(raw, dtype="<i2").astype(np.int16).reshape(1, TABLE_ENTRIES)
    table.setflags(write=False)
    return table


@functools.cache
def noise_table() -> NDArray[np.float32]:
    """The table as float32[65536], exactly; see :func:`noise_integers`."""
    table: NDArray[np.float32] = noise_integers()[0].astype(np.float32)
    table.setflags(write=False)
    return table


class BallNoise:
    """Noise uniform in a ball, a function of key and IV.

    The first d coordinates of a uniform point on the unit sphere in d+2 dimensions are uniform in
    the unit ball in d dimensions; so d+2 normal values are drawn, and normalised by their length.

    Args:
        key: 32 bytes.
        dimension: d, at least 1.
        radius: of the ball; scaling factor times approximation factor over 4.
    """

    __slots__ = ("_table", "dimension", "radius", "stream")

    def __init__(self, key: bytes, dimension: int, radius: float) -> None:
        self.stream = Keystream(key, 2 * (dimension + EXTRA_NORMALS))
        self._table = noise_table()
        self.dimension = dimension
        self.radius = radius

    def draw(self, ivs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32[n, d] for uint8[n, 12]; bit-equal on every machine."""
        return self.batch(len(ivs)).draw(ivs)

    def batch(self, rows: int) -> NoiseBatch:
        """Buffers for up to ``rows`` IVs at a time; not to be shared by threads."""
        return NoiseBatch(self.stream.batch(rows), self._table, self.dimension, self.radius, rows)

    def __repr__(self) -> str:
        return f"BallNoise(***, dimension={self.dimension}, radius={self.radius})"


class NoiseBatch:
    """Noise of many IVs, batch after batch in the same buffers; see :meth:`BallNoise.batch`."""

    __slots__ = ("_exact", "_indices", "_normals", "_radius", "_stream", "_table")

    def __init__(
        self,
        stream: KeystreamBatch,
        table: NDArray[np.float32],
        dimension: int,
        radius: float,
        rows: int,
    ) -> None:
        shape = (rows, dimension + EXTRA_NORMALS)
        self._stream = stream
        self._table = table
        self._radius = radius
        self._indices = np.empty(shape, dtype=np.intp)
        self._normals = np.empty(shape, dtype=np.float32)
        self._exact = np.empty(shape, dtype=np.float64)

    def draw(self, ivs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32[n, d] for uint8[n, 12], n at most ``rows``; valid until the next call."""
        count, width = len(ivs), self._normals.shape[1]
        indices, normals = self._indices[:count], self._normals[:count]
        indices[...] = self._stream.words(ivs)[:, :width]
        np.take(self._table, indices, out=normals, mode="clip")
        factors = (self._radius / np.sqrt(self._sums_of_squares(normals))).astype(np.float32)
        noise: NDArray[np.float32] = normals[:, : width - EXTRA_NORMALS]
        noise *= factors[:, None]
        return noise

    def add_to(self, target: NDArray[np.float32], ivs: NDArray[np.uint8]) -> None:
        """``target += draw(ivs)`` in place."""
        if self._radius:
            target += self.draw(ivs)

    def subtract_from(self, target: NDArray[np.float32], ivs: NDArray[np.uint8]) -> None:
        """``target -= draw(ivs)`` in place."""
        if self._radius:
            target -= self.draw(ivs)

    def _sums_of_squares(self, normals: NDArray[np.float32]) -> NDArray[np.float64]:
        """Exact in any order: float64 holds the sum of 2^22 squares of integers below 2^15."""
        exact = self._exact[: len(normals)]
        exact[...] = normals
        sums: NDArray[np.float64] = np.vecdot(exact, exact)
        # a row of zeros has no direction: it becomes no noise rather than a division by zero
        return np.maximum(sums, 1.0)
