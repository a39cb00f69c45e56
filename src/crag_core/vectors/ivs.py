"""Initialisation vectors that are functions of what they encrypt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crag_core.errors import BadInput
from crag_core.vectors.keystream import IV_BYTES

ID_BYTES = 16
VERSION = 1
_HMAC_BLOCK = 64
_ROWS = 512


class IvMaker:
    """The first 12 bytes of HMAC-SHA256 (RFC 2104) over a version byte and the plaintext vector.

    The two padded-key states are computed once and copied, which halves the cost per vector.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_HMAC_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

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
        made: list[bytes] = []
        for start in range(0, len(vectors), _ROWS):
            part = slice(start, start + _ROWS)
            little = np.ascontiguousarray(vectors[part], dtype="<f4").view(np.uint8)
            self._digest_rows(np.concatenate([prefixes[part], little], axis=1), made)
        digests = np.frombuffer(b"".join(made), dtype=np.uint8).reshape(len(vectors), 32)
        return digests[:, :IV_BYTES].copy()

    def _digest_rows(self, messages: NDArray[np.uint8], made: list[bytes]) -> None:
        new_inner, new_outer = self._inner.copy, self._outer.copy
        flat, size = messages.data.cast("B"), messages.shape[1]
        for start in range(0, len(flat), size):
            inner = new_inner()
            inner.update(flat[start : start + size])
            outer = new_outer()
            outer.update(inner.digest())
            made.append(outer.digest())

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
