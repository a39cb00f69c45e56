"""EME over AES-256, the wide-block mode in which gocryptfs encrypts file names.

Source: S. Halevi, P. Rogaway, "A Parallelizable Enciphering Mode" (2003), section 4. Names have 1
to 128 blocks of 16 bytes; each bit of the result depends on every bit of the name and the tweak.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK = 16
MAX_BLOCKS = 128


class Eme:
    """EME with one AES-256 key (32 bytes)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - EME is built on ECB

    def encrypt(self, tweak: bytes, data: bytes) -> bytes:
        """Encrypt whole blocks under a 16-byte tweak; same length.

        Raises:
            ValueError: the tweak or the data has a wrong length.
        """
        return self._transform(tweak, data, decrypt=False)

    def decrypt(self, tweak: bytes, data: bytes) -> bytes:
        """Undo :meth:`encrypt`. Nothing authenticates: any data decrypts to something.

        Raises:
            ValueError: the tweak or the data has a wrong length.
        """
        return self._transform(tweak, data, decrypt=True)

    def _transform(self, tweak: bytes, data: bytes, *, decrypt: bool) -> bytes:
        count, rest = divmod(len(data), BLOCK)
        if len(tweak) != BLOCK or rest or not 1 <= count <= MAX_BLOCKS:
            raise ValueError("EME takes a tweak of 16 bytes and 1 to 128 blocks of 16 bytes")
        context = self._cipher.decryptor() if decrypt else self._cipher.encryptor()
        apply = context.update
        masks = self._masks(count)
        middle = [
            _number(apply(_bytes(_number(data[at : at + BLOCK]) ^ mask)))
            for at, mask in zip(range(0, len(data), BLOCK), masks, strict=True)
        ]
        bound = _number(tweak)
        mixed = bound
        for value in middle:
            mixed ^= value
        mixed_out = _number(apply(_bytes(mixed)))
        spread = mixed ^ mixed_out
        inner = [0] * count
        total = mixed_out ^ bound
        for index in range(1, count):
            spread = _double(spread)
            inner[index] = middle[index] ^ spread
            total ^= inner[index]
        inner[0] = total
        return b"".join(
            _bytes(_number(apply(_bytes(value))) ^ mask)
            for value, mask in zip(inner, masks, strict=True)
        )

    def _masks(self, count: int) -> list[int]:
        value = _number(self._cipher.encryptor().update(bytes(BLOCK)))
        masks = []
        for _ in range(count):
            value = _double(value)
            masks.append(value)
        return masks


def _number(block: bytes) -> int:
    return int.from_bytes(block, "little")


def _bytes(value: int) -> bytes:
    return value.to_bytes(BLOCK, "little")


def _double(value: int) -> int:
    """Multiply by x in GF(2^128), least significant byte first, modulo x^128+x^7+x^2+x+1."""
    doubled = value << 1
    return (doubled & ((1 << 128) - 1)) ^ (0x87 if doubled >> 128 else 0)
