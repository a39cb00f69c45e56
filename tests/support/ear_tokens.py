"""EAR tokens as a Trustee would sign them, and every way to get one wrong."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

NOW = 1_795_231_020
PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}


def b64url(raw: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def certificate(
    subject: str,
    key: Key,
    issuer: str,
    issuer_key: Key,
    *,
    ca: bool | None,
    begins: int = NOW - 86_400,
    ends: int = NOW + 86_400,
    cert_sign: bool | None = None,
) -> x509.Certificate:
    """A certificate; ``ca=None`` leaves the basic constraints out."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.fromtimestamp(begins, UTC))
        .not_valid_after(datetime.fromtimestamp(ends, UTC))
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    if cert_sign is not None:
        names = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        rest = dict.fromkeys((*names, "crl_sign", "encipher_only", "decipher_only"), False)
        usage = x509.KeyUsage(digital_signature=True, key_cert_sign=cert_sign, **rest)
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(*certificates: x509.Certificate) -> bytes:
    """PEM of certificates."""
    return b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)


def jwk(key: Key, algorithm: str) -> dict[str, Any]:
    """The public JWK of a private key."""
    numbers = key.public_key().public_numbers()
    if isinstance(numbers, ec.EllipticCurvePublicNumbers):
        size = (numbers.curve.key_size + 7) // 8
        return {
            "kty": "EC",
            "crv": f"P-{numbers.curve.key_size}",
            "alg": algorithm,
            "x": b64url(numbers.x.to_bytes(size, "big")),
            "y": b64url(numbers.y.to_bytes(size, "big")),
        }
    n, e = numbers.n, numbers.e
    return {
        "kty": "RSA",
        "alg": algorithm,
        "n": b64url(n.to_bytes((n.bit_length() + 7) // 8, "big")),
        "e": b64url(e.to_bytes(3, "big")),
    }


def sign(key: Key, algorithm: str, signed: bytes) -> bytes:
    """The JWS signature."""
    digest = _HASHES[algorithm[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), digest)
    size = (key.curve.key_size + 7) // 8
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(digest)))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def claims(tee: str = "sample", **changes: Any) -> dict[str, Any]:
    """Claims of an affirming token at :data:`NOW`."""
    return {
        "eat_profile": PROFILE,
        "iat": NOW,
        "exp": NOW + 300,
        "ear.verifier-id": {"build": "1", "developer": "tests"},
        "submods": {"cpu0": submod(tee)},
    } | changes


def submod(tee: str = "sample", **changes: Any) -> dict[str, Any]:
    """An affirming submodule."""
    evidence = {"svn": "1", "measure_register": "ab" * 32, "events": {"software": "cd" * 32}}
    return {
        "ear.status": "affirming",
        "ear.trustworthiness-vector": {"executables": 3, "hardware": 2, "configuration": 2},
        "ear.appraisal-policy-id": "default",
        "ear.veraison.annotated-evidence": {
            tee: evidence,
            "report_data": "AA==",
            "runtime_data_claims": {"nonce": "n"},
        },
    } | changes


@dataclass
class Authority:
    """A certificate authority with one signer below it.

    ``der``: how certificates go into ``x5c``: base64url without padding (Trustee) by default.
    """

    algorithm: str = "ES256"
    name: str = "test CA"
    ca_key: Key = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    der: Callable[[bytes], str] = b64url

    def __post_init__(self) -> None:
        self.key = self._new_key()
        self.ca = certificate(self.name, self.ca_key, self.name, self.ca_key, ca=True)
        self.leaf = certificate("signer", self.key, self.name, self.ca_key, ca=False)

    def _new_key(self) -> Key:
        if self.algorithm.startswith("RS"):
            return rsa.generate_private_key(public_exponent=65537, key_size=2048)
        curve = ec.SECP256R1() if self.algorithm == "ES256" else ec.SECP384R1()
        return ec.generate_private_key(curve)

    @property
    def pem(self) -> bytes:
        """The authority's certificate, to be pinned."""
        return pem(self.ca)

    def x5c(self, *certificates: x509.Certificate) -> list[str]:
        """Certificates as header text."""
        return [self.der(c.public_bytes(serialization.Encoding.DER)) for c in certificates]

    def header(self, **changes: Any) -> dict[str, Any]:
        """The header of a good token."""
        key = jwk(self.key, self.algorithm) | {"x5c": self.x5c(self.leaf, self.ca)}
        return {"typ": "JWT", "alg": self.algorithm, "jwk": key} | changes

    def token(
        self, body: dict[str, Any] | None = None, header: dict[str, Any] | None = None
    ) -> str:
        """A signed token."""
        parts = [header or self.header(), claims() if body is None else body]
        text = ".".join(b64url(json.dumps(part).encode()) for part in parts)
        return f"{text}.{b64url(sign(self.key, self.algorithm, text.encode()))}"
