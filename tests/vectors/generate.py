"""Write the published test vectors anew: ``python tests/vectors/generate.py``.

They come from the plain reference implementation in ``tests/support``, not from the product, and
are the same on every run and every machine. ``tests/unit/core`` checks the product against them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import struct
import sys
import unicodedata
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from support.sapr_reference import Reference, aes_ctr, f32, f32_bytes, hkdf, lp  # noqa: E402

MASTER = b"test-masterkey-12345"
COLLECTION = "向量 vectors"
SALT = bytes(range(32))
CASES = [
    (6, 1.0, 1.0, 2),
    (384, 1.0, 1.0, 2),
    (384, 2.0, 0.5, 1),
    (385, 1.0, 1.0, 1),
    (768, 1.0, 1.0, 1),
    (1024, 1.0, 1.0, 1),
]
# Batches, of which only digests are published; the first is larger than any chunk.
BATCHES = [
    (7, 1.0, 1.0, 1200),
    (384, 1.0, 1.0, 20),
    (768, 1.0, 1.0, 8),
    (1000, 0.37, 2.3, 6),
    (1000, 1.0, 0.0, 6),
    (1024, 1.0, 1.0, 6),
    (1536, 1.0, 1.0, 5),
]


def unit_vector(dimension: int, number: int) -> list[float]:
    """A unit vector of float32 values drawn from SHAKE256."""
    stream = hashlib.shake_256(b"crag test vector %d %d" % (dimension, number))
    raw = struct.unpack(f"<{dimension}h", stream.digest(2 * dimension))
    norm = math.sqrt(sum(value * value for value in raw))
    return [f32(value / norm) for value in raw]


def row_id_of(number: int) -> bytes:
    """The id of a row."""
    return hashlib.sha256(b"crag test id %d" % number).digest()[:16]


def row(reference: Reference, number: int) -> dict[str, Any]:
    vector = unit_vector(reference.dimension, number)
    row_id = row_id_of(number)
    iv = reference.row_iv(row_id, vector)
    noise = reference.noise(iv)
    query_noise = reference.noise(reference.query_iv(vector), "vector/query-noise")
    encrypted = reference.encrypt(row_id, vector)
    half = struct.pack(f"<{len(encrypted)}e", *encrypted)
    query = reference.encrypt_query(vector)
    return {
        "id": row_id.hex(),
        "vector_f32le": base64.b64encode(f32_bytes(vector)).decode(),
        "iv": iv.hex(),
        "noise_first8": [value.hex() for value in noise[:8]],
        "noise_f32le_sha256": hashlib.sha256(f32_bytes(noise)).hexdigest(),
        "encrypted_f16le": base64.b64encode(half).decode(),
        "query_iv": reference.query_iv(vector).hex(),
        "query_noise_f32le_sha256": hashlib.sha256(f32_bytes(query_noise)).hexdigest(),
        "query_first8": [value.hex() for value in query[:8]],
        "query_f32le_sha256": hashlib.sha256(f32_bytes(query)).hexdigest(),
    }


def case(dimension: int, scaling: float, approximation: float, rows: int) -> dict[str, Any]:
    reference = Reference(MASTER, COLLECTION, SALT, dimension, scaling, approximation)
    first = [1.0] + [0.0] * (dimension - 1)
    return {
        "dimension": dimension,
        "scaling_factor": scaling,
        "approximation_factor": approximation,
        "rotation_row0_f32le_sha256": hashlib.sha256(
            f32_bytes(reference.rotate(first))
        ).hexdigest(),
        "rows": [row(reference, number) for number in range(rows)],
    }


def batch(dimension: int, scaling: float, approximation: float, rows: int) -> dict[str, Any]:
    reference = Reference(MASTER, COLLECTION, SALT, dimension, scaling, approximation)
    sealed, ivs = hashlib.sha256(), hashlib.sha256()
    for number in range(rows):
        vector, row_id = unit_vector(dimension, number), row_id_of(number)
        sealed.update(struct.pack(f"<{dimension}e", *reference.encrypt(row_id, vector)))
        ivs.update(reference.row_iv(row_id, vector))
    return {
        "dimension": dimension,
        "scaling_factor": scaling,
        "approximation_factor": approximation,
        "rows": rows,
        "encrypted_f16le_sha256": sealed.hexdigest(),
        "ivs_sha256": ivs.hexdigest(),
    }


def vectors() -> dict[str, Any]:
    """The content of ``sapr-v1.json``."""
    return {
        "format": "crag/test-vectors/sapr-v1",
        "note": "All of it is exact, on every machine. Of batches only digests are given: of the "
        "ciphertexts and of the IVs of their rows 0, 1, 2 ... as generate.py draws them.",
        "master_key": MASTER.hex(),
        "collection": COLLECTION,
        "salt": SALT.hex(),
        "cases": [case(*parameters) for parameters in CASES],
        "batches": [batch(*parameters) for parameters in BATCHES],
    }


def info(purpose: str, *fields: bytes) -> bytes:
    return b"".join(map(lp, [b"crag/kdf/v1", purpose.encode(), *fields]))


def formats() -> dict[str, Any]:
    """The content of ``formats-v1.json``: keys, sealing, tags and the set hash."""
    collection = COLLECTION.encode()
    purposes = ["seal/text", "seal/document", "seal/profile", "id/document", "id/row", "tag"]
    purposes += ["content-tag", "snapshot/sign", "sethash"]
    keys = {name: hkdf(MASTER, SALT, info(name, collection), 32) for name in purposes}
    collection_check = hkdf(MASTER, SALT, info("collection-check-value", collection), 16)
    nonce, payload = bytes(range(12)), "机密计算 confidential".encode()
    fields = [b"crag/row/v1", b"sapr-v1", struct.pack(">I", 3), collection]
    fields += [bytes([1]) * 16, bytes([2]) * 12, struct.pack(">6e", *range(6))]
    fields += [lp(bytes([3]) * 16) + lp(bytes([4]) * 16), struct.pack(">q", 1_800_000_000)]
    aad = b"".join(map(lp, fields))
    padded = (lp(payload)).ljust(256, b"\0")
    name, value = "部门", "Cafe\u0301"
    message = b"".join(
        map(lp, [b"crag/tag/v1", name.encode(), unicodedata.normalize("NFC", value).encode()])
    )
    elements = [b"", b"one", b"two", b"three" * 100]
    return {
        "format": "crag/test-vectors/formats-v1",
        "master_key": MASTER.hex(),
        "collection": COLLECTION,
        "salt": SALT.hex(),
        "check_value": "kcv1:" + hkdf(MASTER, b"", info("check-value"), 16).hex(),
        "collection_check_value": "kcv1:" + collection_check.hex(),
        "keys": {name: key.hex() for name, key in keys.items()},
        "row": {"epoch": 3, "expires": 1_800_000_000, "aad": aad.hex()},
        "sealed": {
            "payload": payload.hex(),
            "nonce": nonce.hex(),
            "ciphertext": AESGCM(keys["seal/text"]).encrypt(nonce, padded, aad).hex(),
        },
        "tag": {
            "name": name,
            "value": value,
            "tag": hmac.digest(keys["tag"], message, hashlib.sha256)[:16].hex(),
        },
        "sethash": {
            "elements": [element.hex() for element in elements],
            "digest": hashlib.sha256(lthash(keys["sethash"], elements)).hexdigest(),
        },
    }


def lthash(key: bytes, elements: list[bytes]) -> bytes:
    lanes, label = [0] * 1024, lp(b"crag/sethash/v2")
    stream_key = hmac.digest(key, label, hashlib.sha256)
    for element in elements:
        iv = hmac.digest(key, label + lp(element), hashlib.sha256)[:12]
        expanded = struct.unpack("<1024H", aes_ctr(stream_key, iv, 2048))
        lanes = [(a + b) % 65536 for a, b in zip(lanes, expanded, strict=True)]
    return struct.pack("<1024H", *lanes)


def write(name: str, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write("sapr-v1.json", vectors())
    write("formats-v1.json", formats())
