"""The Trustee's keys and certificates: the admin's key, the CA, and the signer of its tokens.

The signer is a leaf (CA:FALSE) under a CA of its own, because TNG refuses a CA certificate as the
signer of a token, and pins the CA. All keys are made on first use and kept with mode 0600.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from crag_core.errors import BadInput
from crag_core.trustee.local.codec import b64url_encode
from crag_core.trustee.local.folder import Folder, Writer

CA_VALID = dt.timedelta(days=3650)
SIGNER_VALID = dt.timedelta(days=365)
RENEW_BEFORE = dt.timedelta(days=90)


@dataclass(frozen=True)
class Identity:
    """What a running Trustee signs with and whom it obeys.

    ``admin_key_path`` is None where the admin's private key has been moved off this machine and
    only ``admin.pub`` is left, as it should be in earnest use.
    """

    admin: Ed25519PublicKey
    admin_key_path: Path | None
    ca: x509.Certificate
    ca_path: Path
    signer: x509.Certificate
    signer_key: ec.EllipticCurvePrivateKey

    @property
    def ca_pem(self) -> bytes:
        """The CA's certificate: what verifiers of tokens pin."""
        return self.ca.public_bytes(serialization.Encoding.PEM)

    @property
    def admin_id(self) -> str:
        """First 16 hex digits of SHA-256 of the admin's raw public key, for the audit log."""
        raw = self.admin.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return hashlib.sha256(raw).hexdigest()[:16]

    def jwk(self) -> dict[str, object]:
        """The signer's key as the token header carries it: with ``alg``, and ``x5c`` leaf and CA.

        ``x5c`` is base64url without padding, as Trustee writes it (not RFC 7517's base64).
        """
        numbers = self.signer_key.public_key().public_numbers()
        der = serialization.Encoding.DER
        return {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "x": b64url_encode(numbers.x.to_bytes(32, "big")),
            "y": b64url_encode(numbers.y.to_bytes(32, "big")),
            "x5c": [b64url_encode(c.public_bytes(der)) for c in (self.signer, self.ca)],
        }


def load(folder: Folder, *, now: dt.datetime | None = None) -> Identity:
    """The folder's identity, made where it is missing; the signer is renewed before it expires.

    Raises:
        BadInput: a file is there, but is not what its name says.
    """
    moment = now or dt.datetime.now(dt.UTC)
    with folder.writing() as writer:
        admin = _admin(folder, writer)
        ca_key = _p256(folder, writer, "ca.key")
        ca = _certificate(folder, "ca.pem")
        if ca is None:
            ca = _issue_ca(ca_key, moment)
            writer.write(ca.public_bytes(serialization.Encoding.PEM), "ca.pem")
        signer_key = _p256(folder, writer, "signer.key")
        signer = _certificate(folder, "signer.pem")
        if signer is None or signer.not_valid_after_utc - moment < RENEW_BEFORE:
            signer = _issue_signer(ca, ca_key, signer_key, moment)
            writer.write(signer.public_bytes(serialization.Encoding.PEM), "signer.pem")
    for certificate, key, name in ((ca, ca_key, "ca"), (signer, signer_key, "signer")):
        if certificate.public_key() != key.public_key():
            raise _broken(folder, f"{name}.pem doesn't belong to {name}.key")
    key_path = folder.path("admin.key")
    return Identity(
        admin=admin,
        admin_key_path=key_path if key_path.exists() else None,
        ca=ca,
        ca_path=folder.path("ca.pem"),
        signer=signer,
        signer_key=signer_key,
    )


def _broken(folder: Folder, what: str) -> BadInput:
    return BadInput(
        f"In the Trustee's folder {folder.root}, {what}.",
        hint="Restore the folder from a backup, or name an empty one with --dir.",
    )


def _private_pem(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _admin(folder: Folder, writer: Writer) -> Ed25519PublicKey:
    private, public = folder.read("admin.key"), folder.read("admin.pub")
    if private is None and public is not None:
        try:
            alone = serialization.load_pem_public_key(public)
        except ValueError:
            alone = None
        if not isinstance(alone, Ed25519PublicKey):
            raise _broken(folder, "admin.pub is not an Ed25519 public key in PEM")
        return alone
    if private is None:
        key = Ed25519PrivateKey.generate()
        writer.write(_private_pem(key), "admin.key")
    else:
        key = load_admin_key(private, f"{folder.path('admin.key')}")
    made = key.public_key()
    pem = made.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    if public != pem:
        writer.write(pem, "admin.pub")
    return made


def load_admin_key(pem: bytes, where: str) -> Ed25519PrivateKey:
    """The admin's Ed25519 private key from PKCS#8 PEM; ``where`` names its source in the refusal.

    Raises:
        BadInput: it is something else; the text holds nothing of it.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(
            f"{where} is not an Ed25519 private key in PEM (PKCS#8).",
            hint="Use the admin.key that 'trustee serve' made, or openssl genpkey -algorithm "
            "ed25519.",
        )
    return key


def _p256(folder: Folder, writer: Writer, name: str) -> ec.EllipticCurvePrivateKey:
    pem = folder.read(name)
    if pem is None:
        made = ec.generate_private_key(ec.SECP256R1())
        writer.write(_private_pem(made), name)
        return made
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise _broken(folder, f"{name} is not a P-256 private key in PEM")
    return key


def _certificate(folder: Folder, name: str) -> x509.Certificate | None:
    pem = folder.read(name)
    if pem is None:
        return None
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise _broken(folder, f"{name} is not a certificate in PEM") from None


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, moment: dt.datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - dt.timedelta(minutes=5))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issue_ca(key: ec.EllipticCurvePrivateKey, moment: dt.datetime) -> x509.Certificate:
    name = _name("crag local Trustee CA")
    return (
        _builder(name, name, key.public_key(), moment)
        .not_valid_after(moment + CA_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(ca=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _issue_signer(
    ca: x509.Certificate,
    ca_key: ec.EllipticCurvePrivateKey,
    key: ec.EllipticCurvePrivateKey,
    moment: dt.datetime,
) -> x509.Certificate:
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    # Trustee and TNG check the chain with webpki's usage "client auth".
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    return (
        _builder(_name("crag local Trustee token signer"), ca.subject, key.public_key(), moment)
        .not_valid_after(min(moment + SIGNER_VALID, ca.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(ca=False), critical=True)
        .add_extension(purpose, critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
