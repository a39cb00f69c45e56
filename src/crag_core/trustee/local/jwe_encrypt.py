"""Encrypt a resource to the key that evidence is bound to: flattened JSON JWE (RFC 7516).

ECDH-ES+A256KW on P-256 and RSA-OAEP-256, content in A256GCM. Trustee's own client serialises the
protected header anew to get its associated data, so the order of members is part of the format.
For RSA1_5, which only protocol 0.1.0 uses, the form is the one of Trustee up to 1.5.2.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import aes_key_wrap

from crag_core.trustee.local.codec import Malformed, b64url_decode, b64url_encode

ECDH = "ECDH-ES+A256KW"
RSA_OAEP = "RSA-OAEP-256"
RSA_LEGACY = "RSA1_5"
_ENC = "A256GCM"
_COORDINATE = 32
_MIN_RSA, _MAX_RSA = 2048, 8192


class UnsupportedKey(ValueError):
    """A public key that nothing can be encrypted to; the text says why."""


def encrypt(jwk: Mapping[str, str], payload: bytes) -> dict[str, str]:
    """``payload`` encrypted to the public key ``jwk``.

    Returns:
        ``{"protected", "encrypted_key", "iv", "ciphertext", "tag"}``, all base64url. For RSA1_5
        ``protected`` is bare JSON, the tag is the ciphertext's end, and nothing else is
        authenticated.

    Raises:
        UnsupportedKey: another algorithm, a point off the curve, or an RSA key of a wrong size.
    """
    content_key = AESGCM.generate_key(256)
    if jwk.get("kty") == "RSA" and jwk.get("alg") == RSA_LEGACY:
        return _legacy(_rsa_key(jwk), content_key, payload)
    if jwk.get("kty") == "EC" and jwk.get("alg") == ECDH:
        header, wrapped = _wrap_ecdh(_ec_key(jwk), content_key)
    elif jwk.get("kty") == "RSA" and jwk.get("alg") == RSA_OAEP:
        header = {"alg": RSA_OAEP, "enc": _ENC}
        oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
        wrapped = _rsa_key(jwk).encrypt(content_key, oaep)
    else:
        raise UnsupportedKey(f"tee-pubkey must be a P-256 key for {ECDH} or RSA for {RSA_OAEP}")
    protected = b64url_encode(json.dumps(header, separators=(",", ":")).encode())
    nonce = os.urandom(12)
    sealed = AESGCM(content_key).encrypt(nonce, payload, protected.encode("ascii"))
    return {
        "protected": protected,
        "encrypted_key": b64url_encode(wrapped),
        "iv": b64url_encode(nonce),
        "ciphertext": b64url_encode(sealed[:-16]),
        "tag": b64url_encode(sealed[-16:]),
    }


def _legacy(key: rsa.RSAPublicKey, content_key: bytes, payload: bytes) -> dict[str, str]:
    nonce = os.urandom(12)
    return {
        "protected": json.dumps({"alg": RSA_LEGACY, "enc": _ENC}, separators=(",", ":")),
        "encrypted_key": b64url_encode(key.encrypt(content_key, padding.PKCS1v15())),
        "iv": b64url_encode(nonce),
        "ciphertext": b64url_encode(AESGCM(content_key).encrypt(nonce, payload, None)),
        "tag": "",
    }


def _wrap_ecdh(
    recipient: ec.EllipticCurvePublicKey, content_key: bytes
) -> tuple[dict[str, object], bytes]:
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    shared = ephemeral.exchange(ec.ECDH(), recipient)
    # RFC 7518 section 4.6.2: AlgorithmID, empty PartyUInfo and PartyVInfo, SuppPubInfo in bits.
    info = _lp(ECDH.encode()) + _lp(b"") + _lp(b"") + (256).to_bytes(4, "big")
    wrapping = ConcatKDFHash(hashes.SHA256(), 32, info).derive(shared)
    numbers = ephemeral.public_key().public_numbers()
    epk = {
        "crv": "P-256",
        "kty": "EC",
        "x": b64url_encode(numbers.x.to_bytes(_COORDINATE, "big")),
        "y": b64url_encode(numbers.y.to_bytes(_COORDINATE, "big")),
    }
    return {"alg": ECDH, "enc": _ENC, "epk": epk}, aes_key_wrap(wrapping, content_key)


def _lp(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def _number(jwk: Mapping[str, str], name: str) -> int:
    try:
        return int.from_bytes(b64url_decode(jwk.get(name)), "big")
    except Malformed:
        raise UnsupportedKey(f"tee-pubkey's {name} is not base64url") from None


def _ec_key(jwk: Mapping[str, str]) -> ec.EllipticCurvePublicKey:
    if jwk.get("crv") != "P-256":
        raise UnsupportedKey("tee-pubkey's curve must be P-256")
    numbers = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), ec.SECP256R1())
    try:
        return numbers.public_key()
    except ValueError:
        raise UnsupportedKey("tee-pubkey is not a point of P-256") from None


def _rsa_key(jwk: Mapping[str, str]) -> rsa.RSAPublicKey:
    modulus, exponent = _number(jwk, "n"), _number(jwk, "e")
    if not _MIN_RSA <= modulus.bit_length() <= _MAX_RSA:
        raise UnsupportedKey(f"tee-pubkey must have {_MIN_RSA} to {_MAX_RSA} bits")
    if exponent != 65537:
        raise UnsupportedKey("tee-pubkey's exponent must be 65537")
    try:
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    except ValueError:
        raise UnsupportedKey("tee-pubkey is not an RSA key") from None
