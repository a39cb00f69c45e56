"""AES-256-CTR keystreams of many initialisation vectors in one call."""

from __future__ import annotations

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

BLOCK = 16
IV_BYTES = 12
KEY_BYTES = 32
_UNIT = np.dtype("V16")


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
        return self.batch(len(ivs)).words(ivs)

    def batch(self, rows: int) -> KeystreamBatch:
        """Buffers for up to ``rows`` IVs at a time; not to be shared by threads."""
        return KeystreamBatch(self._cipher, self._counters, rows)

    def __repr__(self) -> str:
        return "Keystream(***)"


class KeystreamBatch:
    """Keystreams of many IVs, batch after batch in the same buffers; see :meth:`Keystream.batch`.

    Args:
        cipher: AES-256 in ECB mode.
        counters: uint32[blocks], big-endian in memory.
        rows: the largest number of IVs in a batch.
    """

    __slots__ = ("_counted", "_counters", "_encryptor", "_output", "_starts")

    def __init__(self, cipher: Cipher[modes.ECB], counters: NDArray[np.uint32], rows: int) -> None:
        self._encryptor = cipher.encryptor()
        self._counters = counters
        self._starts = np.zeros((rows, 4), dtype="<u4")
        self._counted = np.empty((rows, len(counters), 4), dtype="<u4")
        self._output = np.empty(self._counted.nbytes + BLOCK, dtype=np.uint8)

    def words(self, ivs: NDArray[np.uint8]) -> NDArray[np.uint16]:
        """uint16[n, 8 * blocks] for uint8[n, 12], n at most ``rows``; valid until the next call."""
        starts, counted = self._starts[: len(ivs)], self._counted[: len(ivs)]
        starts[:, :3] = np.ascontiguousarray(ivs).view("<u4")
        # copied as units of 16 bytes, five times as fast as three words out of four
        counted.view(_UNIT)[:, :, 0] = starts.view(_UNIT)
        counted[:, :, 3] = self._counters
        size = counted.nbytes
        if size:
            self._encryptor.update_into(counted.data.cast("B"), self._output.data)
        return self._output[:size].view("<u2").reshape(len(ivs), size and counted[0].nbytes // 2)
