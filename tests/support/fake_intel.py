"""A quoting infrastructure of our own: root, PCK, collateral and quotes that verify against it.

Tests use it for what Intel never signs for them: debug TDs, stale TCB levels, foreign FMSPCs. The
structures are those of Intel's documents; only the root differs.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

NOW = 1_780_000_000
FMSPC = "00A0B0C0D0E0"
MRSIGNER = "DC9E2A7C6F948F17474E34A7FC43ED030F7C1563F1BABDDF6340C82E0E54A8C5"
VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_START = datetime.fromtimestamp(NOW, UTC) - timedelta(days=400)
_END = datetime.fromtimestamp(NOW, UTC) + timedelta(days=4000)


def _key(seed: str) -> ec.EllipticCurvePrivateKey:
    number = int.from_bytes(hashlib.sha256(f"crag test {seed}".encode()).digest(), "big")
    return ec.derive_private_key(number % (1 << 255) + 1, ec.SECP256R1())


def _raw(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
        ]
    )


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    length = bytes([size]) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes([tag]) + length + body


_BASE = bytes.fromhex("2a864886f84d010d01")  # 1.2.840.113741.1.13.1


def _entry(path: bytes, value: bytes) -> bytes:
    return _der(0x30, _der(0x06, _BASE + path), value)


def _number(value: int) -> bytes:
    raw = value.to_bytes(max(1, (value.bit_length() + 8) // 8), "big")
    return _der(0x02, raw)


def _sgx_extension(fmspc: str) -> bytes:
    components = [_entry(b"\x02" + bytes([i + 1]), _number(5)) for i in range(16)]
    tcb = _der(
        0x30,
        *components,
        _entry(b"\x02\x11", _number(11)),
        _entry(b"\x02\x12", _der(0x04, bytes([5] * 16))),
    )
    return _der(
        0x30,
        _entry(b"\x01", _der(0x04, bytes(range(16)))),
        _entry(b"\x02", tcb),
        _entry(b"\x03", _der(0x04, bytes(2))),
        _entry(b"\x04", _der(0x04, bytes.fromhex(fmspc))),
        _entry(b"\x05", _der(0x0A, b"\x01")),
    )


def _certificate(
    subject: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool,
    extension: bytes | None = None,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], "big") | 1)
        .not_valid_before(_START)
        .not_valid_after(_END)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if extension is not None:
        oid = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, extension), critical=False)
    # The same in every process: a quote of one is judged by another.
    return builder.sign(signer, hashes.SHA256(), ecdsa_deterministic=True)


def _pem(*certificates: x509.Certificate) -> str:
    return b"".join(c.public_bytes(Encoding.PEM) for c in certificates).decode()


def _crl(
    issuer: str, signer: ec.EllipticCurvePrivateKey, at: int, revoked: int | None = None
) -> bytes:
    moment = datetime.fromtimestamp(at, UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(_name(issuer))
        .last_update(moment - timedelta(days=1))
        .next_update(moment + timedelta(days=30))
        .add_extension(x509.CRLNumber(1), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if revoked is not None:
        entry = (
            x509.RevokedCertificateBuilder()
            .serial_number(revoked)
            .revocation_date(moment - timedelta(days=2))
            .build()
        )
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.DER)


def _stamp(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class FakeIntel:
    """One root and one platform below it."""

    fmspc: str = FMSPC
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: _key("root"))

    def __post_init__(self) -> None:
        root_name, ca_name = "Intel SGX Root CA", "Intel SGX PCK Platform CA"
        self.ca_key, self.pck_key = _key("pck ca"), _key("pck")
        self.tcb_key, self.attestation_key = _key("tcb"), _key("attestation")
        self.root = _certificate(root_name, root_name, self.root_key, self.root_key, ca=True)
        self.ca = _certificate(ca_name, root_name, self.ca_key, self.root_key, ca=True)
        self.pck = _certificate(
            "Intel SGX PCK Certificate",
            ca_name,
            self.pck_key,
            self.ca_key,
            ca=False,
            extension=_sgx_extension(self.fmspc),
        )
        self.tcb = _certificate(
            "Intel SGX TCB Signing", root_name, self.tcb_key, self.root_key, ca=False
        )
        self.ca_name, self.root_name = ca_name, root_name

    @property
    def root_der(self) -> bytes:
        """The root's certificate."""
        return self.root.public_bytes(Encoding.DER)

    def collateral(
        self,
        *,
        at: int = NOW,
        fmspc: str | None = None,
        status: str = "UpToDate",
        advisories: tuple[str, ...] = (),
        evaluation: int = 17,
        revoked: bool = False,
    ) -> dict[str, Any]:
        """Collateral issued at ``at``, in which this platform's level has ``status``."""
        level: dict[str, Any] = {
            "tcb": {
                "sgxtcbcomponents": [{"svn": 5}] * 16,
                "pcesvn": 11,
                "tdxtcbcomponents": [{"svn": 3}] * 3 + [{"svn": 0}] * 13,
            },
            "tcbDate": "2026-01-01T00:00:00Z",
            "tcbStatus": status,
        }
        if advisories:
            level["advisoryIDs"] = list(advisories)
        module = {
            "mrsigner": "00" * 48,
            "attributes": "00" * 8,
            "attributesMask": "FF" * 8,
        }
        identity = {
            "id": "TDX_03",
            **module,
            "tcbLevels": [
                {"tcb": {"isvsvn": 3}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}
            ],
        }
        info = {
            "id": "TDX",
            "version": 3,
            "issueDate": _stamp(at),
            "nextUpdate": _stamp(at + 30 * 86400),
            "fmspc": fmspc or self.fmspc,
            "pceId": "0000",
            "tcbType": 0,
            "tcbEvaluationDataNumber": evaluation,
            "tdxModule": module,
            "tdxModuleIdentities": [identity],
            "tcbLevels": [level],
        }
        qe = {
            "id": "TD_QE",
            "version": 2,
            "issueDate": _stamp(at),
            "nextUpdate": _stamp(at + 30 * 86400),
            "tcbEvaluationDataNumber": evaluation,
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            "attributes": "11" + "00" * 15,
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": MRSIGNER,
            "isvprodid": 2,
            "tcbLevels": [
                {"tcb": {"isvsvn": 4}, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate"}
            ],
        }
        info_text, qe_text = (json.dumps(item, separators=(",", ":")) for item in (info, qe))
        issuer = _pem(self.tcb, self.root)
        serial = self.pck.serial_number if revoked else None
        return {
            "pck_crl_issuer_chain": _pem(self.ca, self.root),
            "root_ca_crl": _crl(self.root_name, self.root_key, at).hex(),
            "pck_crl": _crl(self.ca_name, self.ca_key, at, serial).hex(),
            "tcb_info_issuer_chain": issuer,
            "tcb_info": info_text,
            "tcb_info_signature": _raw(self.tcb_key, info_text.encode()).hex(),
            "qe_identity_issuer_chain": issuer,
            "qe_identity": qe_text,
            "qe_identity_signature": _raw(self.tcb_key, qe_text.encode()).hex(),
        }

    def quote(
        self,
        *,
        report_data: bytes = bytes(64),
        attributes: int = 1 << 28,
        rtmrs: tuple[bytes, ...] = (bytes(48),) * 4,
        mr_td: bytes = b"\x11" * 48,
        version: int = 4,
    ) -> bytes:
        """A quote of a TD with these values."""
        header = (
            version.to_bytes(2, "little")
            + (2).to_bytes(2, "little")
            + (0x81).to_bytes(4, "little")
            + bytes(4)
            + VENDOR
            + bytes(20)
        )
        body = (
            bytes([3, 3, 3] + [0] * 13)
            + bytes(48 + 48 + 8)
            + attributes.to_bytes(8, "little")
            + bytes.fromhex("e702060000000000")
            + mr_td
            + bytes(48 * 3)
            + b"".join(rtmrs)
            + report_data.ljust(64, b"\0")
        )
        if version == 5:
            body = (3).to_bytes(2, "little") + (648).to_bytes(4, "little") + body
            body += bytes([3, 3, 3] + [0] * 13) + bytes(48)
        signed = header + body
        return signed + self._signature(signed)

    def _signature(self, signed: bytes) -> bytes:
        authentication = bytes(range(32))
        key = _point(self.attestation_key)
        report = (
            bytes(16)
            + bytes(4)
            + bytes(28)
            + bytes.fromhex("11" + "00" * 7 + "e7" + "00" * 7)
            + b"\x22" * 32
            + bytes(32)
            + bytes.fromhex(MRSIGNER)
            + bytes(96)
            + (2).to_bytes(2, "little")
            + (4).to_bytes(2, "little")
            + bytes(60)
            + hashlib.sha256(key + authentication).digest()
            + bytes(32)
        )
        chain = _pem(self.pck, self.ca, self.root).encode()
        inner = (
            report
            + _raw(self.pck_key, report)
            + len(authentication).to_bytes(2, "little")
            + authentication
            + (5).to_bytes(2, "little")
            + len(chain).to_bytes(4, "little")
            + chain
        )
        data = (
            _raw(self.attestation_key, signed)
            + key
            + (6).to_bytes(2, "little")
            + len(inner).to_bytes(4, "little")
            + inner
        )
        return len(data).to_bytes(4, "little") + data
