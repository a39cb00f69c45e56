"""Fuzz encrypted resources, in each of the three algorithms. What opens must be what was sealed."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64decode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from joserfc import jwe
from joserfc.jwk import ECKey, RSAKey

from crag_core.errors import IntegrityViolated
from crag_core.trustee.jwe import ECDH, RSA_LEGACY, RSA_OAEP, TeeKey, b64url
from fuzz.harness import main

SECRET = b"\x00 the resource \xff"
KEYS = {alg: TeeKey.generate(alg) for alg in (ECDH, RSA_OAEP, RSA_LEGACY)}


def standard(alg: str) -> dict[str, Any]:
    """A resource as protocol 0.4.0 has it, encrypted by another implementation."""
    kind = ECKey if alg == ECDH else RSAKey
    header = {"alg": alg, "enc": "A256GCM"}
    public = kind.import_key(KEYS[alg].jwk)
    compact = jwe.encrypt_compact(header, SECRET, public, algorithms=[alg, "A256GCM"])
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    return dict(zip(names, compact.split("."), strict=True))


def legacy() -> dict[str, Any]:
    """A resource as protocol 0.1.0 has it."""
    n, e = (int.from_bytes(urlsafe_b64decode(KEYS[RSA_LEGACY].jwk[m] + "=="), "big") for m in "ne")
    content_key, nonce = os.urandom(32), os.urandom(12)
    public = rsa.RSAPublicNumbers(e, n).public_key()
    return {
        "protected": '{"alg":"RSA1_5","enc":"A256GCM"}',
        "encrypted_key": b64url(public.encrypt(content_key, padding.PKCS1v15())),
        "iv": b64url(nonce),
        "ciphertext": b64url(AESGCM(content_key).encrypt(nonce, SECRET, None)),
        "tag": "",
    }


SEEDS = tuple(json.dumps(made).encode() for made in (standard(ECDH), standard(RSA_OAEP), legacy()))


def target(data: bytes) -> None:
    """Try every key; nobody can make a resource open to something else."""
    try:
        encrypted = json.loads(data)
    except (ValueError, RecursionError):
        return
    refused = None
    for key in KEYS.values():
        try:
            opened = key.decrypt(encrypted)
        except IntegrityViolated as error:
            refused = error
            continue
        if opened != SECRET:
            raise AssertionError("a resource opens that nobody sealed")
        return
    if refused is not None:
        raise refused


if __name__ == "__main__":
    main(target, SEEDS)
