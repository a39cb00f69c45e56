"""The grid on which a rotation puts vectors, so that going on from epoch to epoch changes nothing.

A decrypted vector differs from the encrypted one by the rounding of the stored float16 values, and
that error would grow with every rotation. On a grid whose half step exceeds it, rounding to the
next point gives the very vector that was encrypted. Where a coordinate comes too near to the middle
between two points, its point is recorded. ``docs/decisions/0009-rotation-without-drift.md`` has the
numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crag_core.vectors.cipher import VectorCipher

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from crag_core.vectors.cipher import SealedVectors

# Of a step: a decrypted coordinate further than this from its point is recorded.
SURE = 0.375
# How far the norm may be from 1 after all coordinates moved by half a step, see `step`.
TOLERANCE = 4e-3
_BITS = ((1024, 13), (4096, 14))
_FINEST = 15

Exceptions = list[tuple[int, int]]


def step(dimension: int) -> float:
    """The grid's step: 2^-13 below 1024 dimensions, 2^-14 below 4096, 2^-15 from there.

    Half a step in every coordinate is a distance of at most 1/512.
    """
    bits = next((bits for limit, bits in _BITS if dimension < limit), _FINEST)
    return float(2.0**-bits)


def points(vectors: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest point of each vector: int32[n, d] in steps, for float32[n, d]."""
    size = step(vectors.shape[1])
    # A power of two scales without rounding.
    found: NDArray[np.int32] = np.rint(vectors / np.float32(size)).astype(np.int32)
    return found


def vectors(numbers: NDArray[np.int32]) -> NDArray[np.float32]:
    """The vectors of points, float32[n, d], exact."""
    return numbers.astype(np.float32) * np.float32(step(numbers.shape[1]))


def recover(
    cipher: VectorCipher,
    sealed: NDArray[np.float16],
    ivs: NDArray[np.uint8],
    exceptions: Sequence[Exceptions],
) -> NDArray[np.int32]:
    """The points that were encrypted, int32[n, d].

    Args:
        sealed: float16[n, d] as stored.
        ivs: uint8[n, 12].
        exceptions: for each row what :func:`encrypt` recorded; empty for a row that an ingest
            wrote, whose points are defined by this call.

    Raises:
        BadInput: shapes or values that no encryption yields.
    """
    found = points(cipher.decrypt(sealed, ivs))
    for row, recorded in enumerate(exceptions):
        for coordinate, point in recorded:
            found[row, coordinate] = point
    return found


def encrypt(
    cipher: VectorCipher, numbers: NDArray[np.int32], ids: Sequence[bytes]
) -> tuple[SealedVectors, list[Exceptions]]:
    """Encrypt points, and record for each row the coordinates that may not be recovered.

    Args:
        numbers: int32[n, d].
        ids: n row ids of 16 bytes.

    Raises:
        BadInput: a vector whose norm is not 1 within 4e-3, or whose ciphertext leaves float16.
    """
    plain = vectors(numbers)
    sealed = cipher.encrypt(plain, ids, tolerance=TOLERANCE)
    size = np.float32(step(numbers.shape[1]))
    distance = np.abs(cipher.decrypt(sealed.vectors, sealed.ivs) - plain)
    rows, coordinates = np.nonzero(distance > SURE * size)
    recorded: list[Exceptions] = [[] for _ in range(len(numbers))]
    for row, coordinate in zip(rows.tolist(), coordinates.tolist(), strict=True):
        recorded[row].append((coordinate, int(numbers[row, coordinate])))
    return sealed, recorded
