"""Certificate chains of NVIDIA evidence: P-384, leaf first, up to a pinned public key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning

from crag_core.errors import AttestationRejected

MAX_PEM = 64 * 1024
MAX_CERTIFICATES = 8
# Everything that `cryptography` raises for a certificate, also later, when a part of it is read;
# the last one where warnings are errors.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)
_KNOWN_CRITICAL = {x509.KeyUsage.oid, x509.BasicConstraints.oid}


def load_chain(pem: bytes, what: str) -> list[x509.Certificate]:
    """The certificates of a PEM text, in its order.

    Raises:
        AttestationRejected: there are none, too many, or one cannot be read.
    """
    try:
        found = x509.load_pem_x509_certificates(pem[: MAX_PEM + 1]) if len(pem) <= MAX_PEM else []
    except UNREADABLE:
        raise _refused(what, "cannot be read") from None
    if not 0 < len(found) <= MAX_CERTIFICATES:
        raise _refused(what, f"has {len(found)} certificates")
    return found


def verify_chain(
    chain: Sequence[x509.Certificate], anchor: bytes, at: int, what: str
) -> ec.EllipticCurvePublicKey:
    """Verify ``chain`` (leaf first) at unix time ``at``; the leaf's public key is the answer.

    The last certificate must be the pinned root itself or be signed by it. Every signature,
    validity period, name, CA flag, path length and key usage is checked; an unknown critical
    extension refuses. Revocation is not looked up.

    Args:
        anchor: the root's public key, an uncompressed P-384 point (97 bytes).

    Raises:
        AttestationRejected: a rule does not hold; the sentence names the certificate.
    """
    if not chain:
        raise _refused(what, "is empty")
    try:
        return _verify(chain, anchor, at, what)
    except UNREADABLE:
        raise _refused(what, "has a certificate that cannot be read") from None


def _verify(
    chain: Sequence[x509.Certificate], anchor: bytes, at: int, what: str
) -> ec.EllipticCurvePublicKey:
    root = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), anchor)
    keys = [_key(certificate, what) for certificate in chain]
    for number, certificate in enumerate(chain):
        label = f"{what} (certificate {number})"
        if certificate.serial_number <= 0:
            raise _refused(label, "has a serial number that is not positive")
        _check_dates(certificate, at, label)
        _check_extensions(certificate, number, label)
        issuer = chain[number + 1] if number + 1 < len(chain) else None
        if issuer is not None and certificate.issuer != issuer.subject:
            raise _refused(label, "was not issued by the one that follows it")
        _check_signature(certificate, keys[number + 1] if issuer is not None else root, label)
    return keys[0]


def _key(certificate: x509.Certificate, what: str) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _refused(what, "has a key that is not ECDSA P-384")
    return key


def _check_dates(certificate: x509.Certificate, at: int, label: str) -> None:
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):
        raise _refused(label, f"cannot be judged at the time {at}") from None
    if moment < certificate.not_valid_before_utc:
        raise _refused(label, f"is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}")
    if moment > certificate.not_valid_after_utc:
        raise _refused(label, f"has expired on {certificate.not_valid_after_utc:%Y-%m-%d}")


def _check_extensions(certificate: x509.Certificate, number: int, label: str) -> None:
    constraints = usage = None
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.BasicConstraints):
            constraints = extension.value
        elif isinstance(extension.value, x509.KeyUsage):
            usage = extension.value
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise _refused(label, f"has an unknown critical extension {extension.oid}")
    ca = constraints is not None and constraints.ca
    if number == 0:
        if ca:
            raise _refused(label, "is a CA's and must not sign evidence")
        if usage is not None and not usage.digital_signature:
            raise _refused(label, "may not sign")
        return
    if not ca or usage is None or not usage.key_cert_sign:
        raise _refused(label, "is not a CA's")
    limit = constraints.path_length if constraints is not None else None
    if limit is not None and number - 1 > limit:
        raise _refused(label, "has more CAs below it than it allows")


def _check_signature(
    certificate: x509.Certificate, issuer: ec.EllipticCurvePublicKey, label: str
) -> None:
    algorithm = certificate.signature_hash_algorithm
    if not isinstance(algorithm, hashes.SHA384):
        raise _refused(label, "is not signed with SHA-384")
    try:
        issuer.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(algorithm))
    except InvalidSignature:
        raise _refused(label, "is not signed by its issuer or the pinned root") from None


def _refused(label: str, why: str) -> AttestationRejected:
    return AttestationRejected(f"The {label} {why}.", code="chain-rejected")
