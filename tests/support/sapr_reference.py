"""Scheme ``sapr-v1`` a second time, from ``docs/reference/formats.md`` alone, without numpy.

Slow and plain on purpose: one IV at a time, AES in CTR mode as the library offers it, Python
integers for the sums, HKDF written out. The product must agree with it bit for bit.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

import crag_core.vectors

TABLE = struct.unpack(
    "<65536h", (Path(crag_core.vectors.__file__).parent / "noise_table.bin").read_bytes()
)


def lp(field: bytes) -> bytes:
    return struct.pack(">I", len(field)) + field


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int) -> bytes:
    """RFC 5869 with SHA-256."""
    prk = hmac.new(salt or bytes(32), ikm, hashlib.sha256).digest()
    output, block, counter = b"", b"", 1
    while len(output) < length:
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
        counter += 1
    return output[:length]


def f32(value: float) -> float:
    """The nearest float32."""
    rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return rounded


def f32_bytes(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def aes_ctr(key: bytes, iv: bytes, length: int) -> bytes:
    encryptor = Cipher(algorithms.AES(key), modes.CTR(iv + bytes(4))).encryptor()
    return encryptor.update(bytes(length))


@dataclass(frozen=True)
class Reference:
    """The parameters of one collection."""

    master: bytes
    collection: str
    salt: bytes
    dimension: int
    scaling_factor: float = 1.0
    approximation_factor: float = 1.0

    def key(self, purpose: str) -> bytes:
        fields = [b"crag/kdf/v1", purpose.encode(), self.collection.encode()]
        info = b"".join(map(lp, [*fields, struct.pack(">I", self.dimension)]))
        return hkdf(self.master, self.salt, info, 32)

    def row_iv(self, row_id: bytes, vector: list[float]) -> bytes:
        message = row_id + b"\x01" + f32_bytes(vector)
        return hmac.new(self.key("vector/iv"), message, hashlib.sha256).digest()[:12]

    def query_iv(self, vector: list[float]) -> bytes:
        message = b"\x01" + f32_bytes(vector)
        return hmac.new(self.key("vector/query-iv"), message, hashlib.sha256).digest()[:12]

    def noise(self, iv: bytes, purpose: str = "vector/noise") -> list[float]:
        """d float32 values."""
        count = self.dimension + 2
        stream = aes_ctr(self.key(purpose), iv, 2 * count)
        normals = [TABLE[index] for index in struct.unpack(f"<{count}H", stream)]
        radius = self.scaling_factor * self.approximation_factor / 4.0
        squares = max(1, sum(normal * normal for normal in normals))
        factor = f32(radius / math.sqrt(squares))
        return [f32(factor * normal) for normal in normals[: self.dimension]]

    def rounds(self) -> list[tuple[list[int], list[float]]]:
        """Permutation and signs of each of the three rounds."""
        d = self.dimension
        made = []
        for number in range(3):
            iv = bytes(11) + bytes([number])
            stream = aes_ctr(self.key("vector/rotation"), iv, 8 * d + (d + 7) // 8)
            keys = struct.unpack(f"<{d}Q", stream[: 8 * d])
            order = sorted(range(d), key=keys.__getitem__)
            bits = stream[8 * d :]
            signs = [-1.0 if bits[i // 8] >> (i % 8) & 1 else 1.0 for i in range(d)]
            made.append((order, signs))
        return made

    def rotate(self, vector: list[float]) -> list[float]:
        """Q(x) for float32 values; every operation is rounded to float32."""
        values = list(vector)
        for order, signs in self.rounds():
            values = [values[source] for source in order]
            start = 0
            for bit in reversed(range(self.dimension.bit_length())):
                if self.dimension >> bit & 1:
                    end = start + (1 << bit)
                    factor = f32(1.0 / math.sqrt(1 << bit))
                    values[start:end] = hadamard(
                        [
                            f32(value * sign * factor)
                            for value, sign in zip(values[start:end], signs[start:end], strict=True)
                        ]
                    )
                    start = end
        return values

    def encrypt(self, row_id: bytes, vector: list[float]) -> list[float]:
        """s * Q(x) + noise, float32 values; as float16 they are the ciphertext."""
        return self._perturb(vector, self.noise(self.row_iv(row_id, vector)))

    def encrypt_query(self, vector: list[float]) -> list[float]:
        """s * Q(q) + noise of the query, float32 values."""
        return self._perturb(vector, self.noise(self.query_iv(vector), "vector/query-noise"))

    def _perturb(self, vector: list[float], noise: list[float]) -> list[float]:
        factor = f32(self.scaling_factor)
        scaled = [f32(factor * value) for value in self.rotate(vector)]
        if self.approximation_factor == 0.0:
            return scaled
        return [f32(value + n) for value, n in zip(scaled, noise, strict=True)]


def hadamard(values: list[float]) -> list[float]:
    """Walsh-Hadamard transform of a power of two of float32 values, in natural order.

    A sum of two float32 values, rounded to float64 and then to float32, is their float32 sum.
    """
    half = 1
    values = list(values)
    while half < len(values):
        for start in range(0, len(values), 2 * half):
            for i in range(start, start + half):
                a, b = values[i], values[i + half]
                values[i], values[i + half] = f32(a + b), f32(a - b)
        half *= 2
    return values
