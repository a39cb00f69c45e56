"""Initialisation vectors that are functions of what they encrypt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from numpy.typing import NDArray

from crag_core.errors import BadInput
from crag_core.vectors.keystream import IV_BYTES
from crag_core.vectors.octets import row_bytes

ID_BYTES = 16
VERSION = 1
_ROWS = 512


class IvMaker:
    """The first 12 bytes of HMAC-SHA256 (RFC 2104) over a version byte and the plaintext vector.

    The state of the padded key is computed once and copied, which halves the cost per vector.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_mac",)

    def __init__(self, key: bytes) -> None:
        self._mac = HMAC(key, hashes.SHA256())

    def for_rows(self, vectors: NDArray[np.float32], ids: Sequence[bytes]) -> NDArray[np.uint8]:
        """uint8[n, 12] for float32[n, d]: HMAC(id || version || float32 little-endian bytes).

        Raises:
            BadInput: not one id of 16 bytes per vector.
        """
        prefixes = np.full((len(vectors), ID_BYTES + 1), VERSION, dtype=np.uint8)
        prefixes[:, :ID_BYTES] = _id_matrix(ids, len(vectors))
        return self._authenticate(prefixes, vectors)

    def for_queries(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """uint8[n, 12] for float32[n, d]: HMAC(version || float32 little-endian bytes)."""
        return self._authenticate(np.full((len(vectors), 1), VERSION, dtype=np.uint8), vectors)

    def _authenticate(
        self, prefixes: NDArray[np.uint8], vectors: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        fresh, made = self._mac.copy, []
        for start in range(0, len(vectors), _ROWS):
            part = slice(start, start + _ROWS)
            little = np.ascontiguousarray(vectors[part], dtype="<f4").view(np.uint8)
            for message in row_bytes(np.concatenate([prefixes[part], little], axis=1)):
                mac = fresh()
                mac.update(message)
                made.append(mac.finalize())
        digests = np.frombuffer(b"".join(made), dtype=np.uint8).reshape(len(vectors), 32)
        return digests[:, :IV_BYTES].copy()

    def __repr__(self) -> str:
        return "IvMaker(***)"


def _id_matrix(ids: Sequence[bytes], count: int) -> NDArray[np.uint8]:
    try:
        joined = b"".join(ids)
        fits = len(ids) == count and set(map(len, ids)) <= {ID_BYTES}
    except TypeError:
        fits = False
    if not fits:
        raise BadInput(
            f"{count} vectors were given; each needs one id of 16 bytes.",
            hint="Pass row ids as bytes, one per vector, in the same order.",
        )
    return np.frombuffer(joined, dtype=np.uint8).reshape(count, ID_BYTES)
