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
from crag_core.vectors.keystream import Keystream

TABLE_FILE = "noise_table.bin"
TABLE_ENTRIES = 65_536
TABLE_SHA256 = "f2c6324c2cb2d1eead37c99df3e51a2cc63fc6ec5d23237d65f91b17d588a7b9"
EXTRA_NORMALS = 2


@functools.cache
def noise_table() -> NDArray[np.float32]:
    """The table ``T[i] = rint(7000 * inverse_normal_cdf((i + 0.5) / 65536))`` as float32[65536].

    The packaged file holds little-endian int16; float32 holds these integers exactly.

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
    table = np.frombuffer(raw, dtype="<i2").astype(np.float32)
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

    __slots__ = ("_stream", "_table", "dimension", "radius")

    def __init__(self, key: bytes, dimension: int, radius: float) -> None:
        self._stream = Keystream(key, 2 * (dimension + EXTRA_NORMALS))
        self._table = noise_table()
        self.dimension = dimension
        self.radius = radius

    def add_to(self, target: NDArray[np.float32], ivs: NDArray[np.uint8]) -> None:
        """``target += noise(ivs)`` in place; float32[n, d] and uint8[n, 12]."""
        if self.radius:
            target += self.draw(ivs)

    def subtract_from(self, target: NDArray[np.float32], ivs: NDArray[np.uint8]) -> None:
        """``target -= noise(ivs)`` in place; float32[n, d] and uint8[n, 12]."""
        if self.radius:
            target -= self.draw(ivs)

    def draw(self, ivs: NDArray[np.uint8]) -> NDArray[np.float32]:
        """float32[n, d] for uint8[n, 12]; bit-equal on every machine."""
        width = self.dimension + EXTRA_NORMALS
        indices = self._stream.words(ivs)[:, :width].astype(np.intp)
        normals = np.empty(indices.shape, dtype=np.float32)
        np.take(self._table, indices, out=normals, mode="clip")
        squares = _sums_of_squares(normals)
        factors = (self.radius / np.sqrt(squares)).astype(np.float32)
        noise = normals[:, : self.dimension]
        noise *= factors[:, None]
        return noise

    def __repr__(self) -> str:
        return f"BallNoise(***, dimension={self.dimension}, radius={self.radius})"


def _sums_of_squares(normals: NDArray[np.float32]) -> NDArray[np.float64]:
    """Exact: integers below 2^15, so float64 sums of up to 2^23 squares round nowhere."""
    exact = normals.astype(np.float64)
    sums: NDArray[np.float64] = np.einsum("ij,ij->i", exact, exact)
    # a row of zeros has no direction: it becomes no noise rather than a division by zero
    return np.maximum(sums, 1.0)
