"""Compact JWS (RFC 7515) with one algorithm per call, chosen by the caller and never the token."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from crag_core.trustee.local.codec import Malformed, b64url_decode, b64url_encode, read_object

MAX_TOKEN = 256 * 1024
_COORDINATE = 32


class BadToken(ValueError):
    """A token that is malformed, signed otherwise, or outside its time; the text says which."""


def _part(value: Mapping[str, Any]) -> str:
    return b64url_encode(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def sign(
    header: Mapping[str, Any],
    claims: Mapping[str, Any],
    key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey,
) -> str:
    """A compact JWS of ``claims``: ES256 (raw r||s, 64 bytes) or EdDSA, by the key's type."""
    algorithm = "EdDSA" if isinstance(key, Ed25519PrivateKey) else "ES256"
    signed = f"{_part({'typ': 'JWT', 'alg': algorithm, **header})}.{_part(claims)}"
    if isinstance(key, Ed25519PrivateKey):
        signature = key.sign(signed.encode("ascii"))
    else:
        der = key.sign(signed.encode("ascii"), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(der)
        signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return f"{signed}.{b64url_encode(signature)}"


def verify(token: str, key: ec.EllipticCurvePublicKey | Ed25519PublicKey) -> dict[str, Any]:
    """The claims of ``token`` once its signature by ``key`` has been checked.

    The algorithm follows from the key; a header that names another one is refused, and so is
    ``crit``, since no extension is understood. Times are :func:`check_times`'s business.

    Raises:
        BadToken: malformed, another algorithm, or another signer.
    """
    expected = "EdDSA" if isinstance(key, Ed25519PublicKey) else "ES256"
    parts = token.split(".")
    if len(token) > MAX_TOKEN or len(parts) != 3:
        raise BadToken("the token is not a compact JWS")
    try:
        header = read_object(b64url_decode(parts[0]))
        signature = b64url_decode(parts[2])
        payload = b64url_decode(parts[1])
    except Malformed:
        raise BadToken("the token is not a compact JWS") from None
    if header.get("alg") != expected or "crit" in header:
        raise BadToken(f"the token is not signed with {expected}")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(_der(signature), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise BadToken("the token's signature is not by the expected key") from None
    try:
        return read_object(payload)
    except Malformed:
        raise BadToken("the token's claims are not a JSON object") from None


def _der(signature: bytes) -> bytes:
    if len(signature) != 2 * _COORDINATE:
        raise InvalidSignature
    r = int.from_bytes(signature[:_COORDINATE], "big")
    s = int.from_bytes(signature[_COORDINATE:], "big")
    return utils.encode_dss_signature(r, s)


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise BadToken(f"the token's {name} is not a number")
    return float(value)


def check_times(
    claims: Mapping[str, Any], now: float, *, leeway: int, longest: int | None = None
) -> None:
    """Check ``exp`` (mandatory), ``nbf`` and ``iat`` (where present) against ``now``, in seconds.

    ``longest`` bounds how far in the future ``exp`` may lie.

    Raises:
        BadToken: expired, not yet valid, living too long, or without ``exp``.
    """
    expires = _time(claims, "exp")
    if expires is None:
        raise BadToken("the token has no exp")
    if not now < expires + leeway:
        raise BadToken("the token has expired")
    if longest is not None and expires > now + longest:
        raise BadToken(f"the token lives longer than {longest} seconds")
    for name in ("nbf", "iat"):
        begins = _time(claims, name)
        if begins is not None and not begins <= now + leeway:
            raise BadToken(f"the token's {name} lies in the future")
