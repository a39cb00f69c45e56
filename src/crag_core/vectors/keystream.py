"""AES-256-CTR keystreams of many initialisation vectors in one call."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

BLOCK = 16
IV_BYTES = 12
KEY_BYTES = 32


class Keystream:
    """AES-256-CTR with the counter block ``IV (12) || counter (32-bit big-endian, from 0)``.

    The counter blocks of a whole batch are built as one array and encrypted by one AES-ECB call,
    which yields the same bytes as one CTR cipher per IV at a fraction of the cost.

    Args:
        key: 32 bytes.
        length: bytes wanted per IV; at least 1.
    """

    __slots__ = ("_cipher", "_counters", "blocks", "length")

    def __init__(self, key: bytes, length: int) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"AES-256 needs 32 bytes of key, not {len(key)}")
        self.length = length
        self.blocks = -(-length // BLOCK)
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - counter mode by hand
        self._counters = np.arange(self.blocks, dtype=">u4").view("<u4")

    def bytes_for(self, iv: bytes) -> bytes:
        """The first ``length`` bytes of the keystream of one IV of 12 bytes."""
        ivs = np.frombuffer(iv, dtype=np.uint8).reshape(1, IV_BYTES)
        return self.words(ivs).tobytes()[: self.length]

    def words(self, ivs: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """The keystreams of ``uint8[n, 12]`` as little-endian ``uint16[n, 8 * blocks]``."""
        count = len(ivs)
        counted = np.empty((count, self.blocks, 4), dtype="<u4")
        counted[:, :, :3] = np.ascontiguousarray(ivs).view("<u4")[:, None, :]
        counted[:, :, 3] = self._counters
        size = counted.nbytes
        output = np.empty(size + BLOCK, dtype=np.uint8)
        encryptor = self._cipher.encryptor()
        encryptor.update_into(counted.data.cast("B"), output.data)
        return output[:size].view("<u2").reshape(count, -1)

    def __repr__(self) -> str:
        return "Keystream(***)"
