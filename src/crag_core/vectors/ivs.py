"""Initialisation vectors that are functions of what they encrypt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crag_core.errors import BadInput
from crag_core.vectors.keystream import IV_BYTES

ID_BYTES = 16
VERSION_BYTE = b"\x01"
_HMAC_BLOCK = 64


class IvMaker:
    """The first 12 bytes of HMAC-SHA256 over a version byte and the plaintext vector.

    Args:
        key: 32 bytes.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = key.ljust(_HMAC_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def for_rows(self, vectors: NDArray[np.float32], ids: Sequence[bytes]) -> NDArray[np.uint8]:
        """uint8[n, 12]: HMAC(id || version || float32 little-endian bytes).

        Raises:
            BadInput: not one id of 16 bytes per vector.
        """
        count = len(vectors)
        joined = b"".join(ids)
        if (
            len(ids) != count
            or len(joined) != ID_BYTES * count
            or any(len(one) != ID_BYTES for one in ids)
        ):
            raise BadInput(
                f"{count} vectors came with {len(ids)} ids; each needs one id of 16 bytes.",
                hint="Pass row ids as bytes, one per vector.",
            )
        messages = np.empty((count, ID_BYTES + 1 + 4 * vectors.shape[1]), dtype=np.uint8)
        messages[:, :ID_BYTES] = np.frombuffer(joined, dtype=np.uint8).reshape(count, ID_BYTES)
        messages[:, ID_BYTES] = VERSION_BYTE[0]
        messages[:, ID_BYTES + 1 :] = _bytes_of(vectors)
        return self._authenticate(messages)

    def for_queries(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """uint8[n, 12]: HMAC(version || float32 little-endian bytes)."""
        messages = np.empty((len(vectors), 1 + 4 * vectors.shape[1]), dtype=np.uint8)
        messages[:, 0] = VERSION_BYTE[0]
        messages[:, 1:] = _bytes_of(vectors)
        return self._authenticate(messages)

    def _authenticate(self, messages: NDArray[np.uint8]) -> NDArray[np.uint8]:
        new_inner, new_outer = self._inner.copy, self._outer.copy
        size = messages.shape[1]
        flat = messages.data.cast("B")
        made = []
        for start in range(0, size * len(messages), size):
            inner = new_inner()
            inner.update(flat[start : start + size])
            outer = new_outer()
            outer.update(inner.digest())
            made.append(outer.digest())
        joined = b"".join(made)
        whole = np.frombuffer(joined, dtype=np.uint8).reshape(len(messages), 32)
        return whole[:, :IV_BYTES].copy()

    def __repr__(self) -> str:
        return "IvMaker(***)"


def _bytes_of(vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
    little = np.ascontiguousarray(vectors, dtype="<f4")
    return little.view(np.uint8).reshape(len(vectors), -1)
