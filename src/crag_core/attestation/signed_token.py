"""Who signed an attestation token: its form, algorithm, key, certificate chain and signature.

A Trustee puts its signer's key (``jwk``) and certificates (``x5c``) into the token's header. The
key alone proves nothing, anybody can make one: it counts because its certificate leads to an
authority that the verifier has pinned.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import verification

from crag_core.attestation.x509chain import UNREADABLE
from crag_core.errors import BadInput

MAX_TOKEN_CHARACTERS = 1024 * 1024
MAX_CHAIN = 5
MIN_RSA_BITS = 2048

Fail = Callable[[str, str], NoReturn]
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_EC: dict[str, tuple[type[ec.EllipticCurve], hashes.HashAlgorithm, int]] = {
    "ES256": (ec.SECP256R1, hashes.SHA256(), 32),
    "ES384": (ec.SECP384R1, hashes.SHA384(), 48),
}
_RSA: dict[str, hashes.HashAlgorithm] = {
    "RS256": hashes.SHA256(),
    "RS384": hashes.SHA384(),
    "RS512": hashes.SHA512(),
}
ALGORITHMS = (*_EC, *_RSA)
_CURVES = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
_PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
_B64URL = re.compile(r"[A-Za-z0-9_-]+")


class Token:
    """A token taken apart. ``header`` and ``claims`` are unverified until :func:`verify` returns.

    Args:
        text: the compact JWS.
        fail: called with rule and detail where a rule is broken; must raise.
    """

    def __init__(self, text: str, fail: Fail) -> None:
        parts = text.split(".")
        if len(text) > MAX_TOKEN_CHARACTERS or len(parts) != 3 or not text.isascii():
            fail("form", "it is not three parts of base64url text")
        self.signed = f"{parts[0]}.{parts[1]}".encode()
        self.header = _object(_part(parts[0], "header", fail), "header", fail)
        self.claims = _object(_part(parts[1], "claims", fail), "claims", fail)
        self.signature = _part(parts[2], "signature", fail) if parts[2] else b""


def anchors_from_pem(pem: bytes) -> list[x509.Certificate]:
    """The pinned authorities in ``pem``.

    Raises:
        BadInput: there is no certificate in it.
    """
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    if not found:
        raise BadInput(
            "The pinned certificate of the Trustee is not a PEM certificate.",
            hint="Name the PEM file of the authority that issued the attestation service's "
            "certificate (--trustee-certificate).",
        )
    return found


def verify(token: Token, anchors: Sequence[x509.Certificate], now: int, fail: Fail) -> list[str]:
    """Check algorithm, key, certificates, path and signature, in this order.

    Args:
        anchors: the pinned authorities.
        now: Unix time at which the certificates must be valid.
        fail: called with rule and detail where one is broken; must raise.

    Returns:
        What was found: algorithm, key, chain from the signer to the anchor.
    """
    algorithm = _algorithm(token.header, fail)
    jwk = token.header.get("jwk")
    if not isinstance(jwk, dict):
        fail("key", "its header brings no key (jwk), so no certificate can be checked")
    key = _key(jwk, algorithm, fail)
    chain = _certificates(jwk, key, fail)
    path = _path(chain, anchors, now, fail)
    if not _signed(token, algorithm, key):
        fail("signature", f"its {algorithm} signature is not from the key in its header")
    return [algorithm, " <- ".join(certificate.subject.rfc4514_string() for certificate in path)]


def _algorithm(header: dict[str, Any], fail: Fail) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        shown = algorithm[:16] if isinstance(algorithm, str) else "none"
        fail("algorithm", f"it is signed with {shown!r}; only {', '.join(ALGORITHMS)} count")
    if "crit" in header or "b64" in header:
        fail("algorithm", "its header asks for extensions that we don't know")
    return algorithm


def _key(jwk: dict[str, Any], algorithm: str, fail: Fail) -> PublicKey:
    if jwk.get("alg") != algorithm:
        fail("key", f"its key is not for {algorithm}")
    if _PRIVATE_MEMBERS & jwk.keys():
        fail("key", "its key is not a public one")
    if jwk.get("use", "sig") != "sig":
        fail("key", "its key is not one for signatures")
    try:
        if algorithm in _EC:
            curve = _CURVES.get(jwk.get("crv", ""))
            if jwk.get("kty") != "EC" or curve is not _EC[algorithm][0]:
                fail("key", f"its key is not of the curve that {algorithm} uses")
            size = _EC[algorithm][2]
            x, y = (_coordinate(jwk.get(name), size) for name in "xy")
            return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
        if jwk.get("kty") != "RSA":
            fail("key", f"its key is not an RSA key, which {algorithm} needs")
        n, e = (_coordinate(jwk.get(name), None) for name in "ne")
        if n.bit_length() < MIN_RSA_BITS:
            fail("key", f"its RSA key has fewer than {MIN_RSA_BITS} bits")
        return rsa.RSAPublicNumbers(e, n).public_key()
    except (ValueError, TypeError):
        fail("key", "its key is malformed")


def _coordinate(text: object, size: int | None) -> int:
    if not isinstance(text, str) or not _B64URL.fullmatch(text):
        raise ValueError("not base64url")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if size is not None and len(raw) != size:
        raise ValueError("not of the curve's size")
    return int.from_bytes(raw, "big")


def _certificates(jwk: dict[str, Any], key: PublicKey, fail: Fail) -> list[x509.Certificate]:
    listed = jwk.get("x5c")
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_CHAIN:
        fail("certificate", f"its key comes without certificates (x5c), or with over {MAX_CHAIN}")
    chain = []
    for number, text in enumerate(listed):
        try:
            chain.append(x509.load_der_x509_certificate(_x5c(text)))
        except UNREADABLE:
            fail("certificate", f"its certificate {number} cannot be read")
    leaf = chain[0]
    try:
        same = hmac.compare_digest(_spki(leaf.public_key()), _spki(key))
        constraints = _basic_constraints(leaf)
        for certificate in chain:
            _basic_constraints(certificate)
    except UNREADABLE:
        fail("certificate", "a certificate's key or extensions cannot be read")
    if not same:
        fail("certificate", "its first certificate is for another key")
    if constraints is not None and constraints.ca:
        fail("certificate", "its first certificate is an authority's, not a signer's")
    return chain


def _x5c(text: object) -> bytes:
    # Trustee writes base64url without padding, RFC 7517 asks for standard base64: take both.
    if not isinstance(text, str):
        raise TypeError("not a string")
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _spki(key: Any) -> bytes:
    raw: bytes = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return raw


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _path(
    chain: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: int,
    fail: Fail,
) -> list[x509.Certificate]:
    policy = verification.ExtensionPolicy.permit_all()
    agnostic = verification.Criticality.AGNOSTIC
    authority = policy.require_present(x509.BasicConstraints, agnostic, None).may_be_present(
        x509.KeyUsage, agnostic, _may_sign_certificates
    )
    try:
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(list(anchors)))
            .time(datetime.fromtimestamp(now, UTC))
            .max_chain_depth(MAX_CHAIN - 1)
            .extension_policies(ee_policy=policy, ca_policy=authority)
            .build_client_verifier()
        )
        return verifier.verify(chain[0], list(chain[1:])).chain
    except (verification.VerificationError, OverflowError, *UNREADABLE):
        for certificate in chain:
            if not (
                certificate.not_valid_before_utc.timestamp()
                <= now
                <= certificate.not_valid_after_utc.timestamp()
            ):
                fail("path", "a certificate of its signer is expired or not valid yet")
        fail("path", "its certificates do not lead from the signer to the pinned authority")


def _may_sign_certificates(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an issuer may not sign certificates")


def _signed(token: Token, algorithm: str, key: PublicKey) -> bool:
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            _, digest, size = _EC[algorithm]
            if len(token.signature) != 2 * size:
                return False
            r, s = (int.from_bytes(half, "big") for half in _halves(token.signature, size))
            key.verify(encode_dss_signature(r, s), token.signed, ec.ECDSA(digest))
        else:
            key.verify(token.signature, token.signed, padding.PKCS1v15(), _RSA[algorithm])
    except InvalidSignature:
        return False
    return True


def _halves(signature: bytes, size: int) -> tuple[bytes, bytes]:
    return signature[:size], signature[size:]


def _part(text: str, what: str, fail: Fail) -> bytes:
    if not _B64URL.fullmatch(text) or len(text) % 4 == 1:
        fail("form", f"its {what} is not base64url without padding")
    raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != text:
        fail("form", f"its {what} is not in the one form of base64url")
    return raw


def _object(raw: bytes, what: str, fail: Fail) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a member stands twice")
        return made

    def refuse(constant: str) -> NoReturn:
        raise ValueError(constant)

    try:
        value = json.loads(raw, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError):
        fail("form", f"its {what} is not JSON, or a member stands twice")
    if not isinstance(value, dict):
        fail("form", f"its {what} is not an object")
    return value
