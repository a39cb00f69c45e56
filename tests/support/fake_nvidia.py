"""GPUs of our own: certificate chains, SPDM reports and RIMs below roots that only tests trust."""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from support.fake_intel import NOW

VBIOS, DRIVER = "96.00.74.00.1A", "580.95.05"
_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_HASH = "http://www.w3.org/2001/04/xmlenc#sha384"
_DSIG = "http://www.w3.org/2000/09/xmldsig#"
_MORE = "http://www.w3.org/2001/04/xmldsig-more#"
_C14N = "http://www.w3.org/2006/12/xml-c14n11"


def key(seed: str) -> ec.EllipticCurvePrivateKey:
    """The P-384 key of that name, the same in every run."""
    number = int.from_bytes(hashlib.sha384(f"crag test {seed}".encode()).digest(), "big")
    return ec.derive_private_key(number % (1 << 383) + 1, ec.SECP384R1())


def point(private: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key as 97 bytes."""
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def sign(private: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """r || s, 96 bytes."""
    r, s = decode_dss_signature(private.sign(data, ec.ECDSA(hashes.SHA384())))
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


def certificate(
    subject: str,
    issuer: str,
    public: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    *,
    ca: bool = True,
    path_length: int | None = None,
    fwid: bytes | None = None,
    extra: x509.UnrecognizedExtension | None = None,
    days: int = 4000,
) -> x509.Certificate:
    """A P-384 certificate as NVIDIA's are: no basic constraints in a leaf."""
    start = datetime.fromtimestamp(NOW, UTC) - timedelta(days=300)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(public.public_key())
        .serial_number(int.from_bytes(hashlib.sha256(point(public)).digest()[:8], "big") | 1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .add_extension(
            x509.KeyUsage(not ca, False, False, False, False, ca, ca, False, False), critical=True
        )
    )
    if ca:
        builder = builder.add_extension(
            x509.BasicConstraints(ca=True, path_length=path_length), critical=True
        )
    if fwid is not None:
        spki = public.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        tail = bytes.fromhex("303d06096086480165030402020430") + fwid
        body = b"\x02\x01\x01" + spki + tail
        value = b"\x30\x81" + bytes([len(body)]) + body
        oid = x509.ObjectIdentifier("2.23.133.5.4.1")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(signer, hashes.SHA384())


def pem(*chain: x509.Certificate) -> bytes:
    """A chain as PEM."""
    return b"".join(item.public_bytes(Encoding.PEM) for item in chain)


@dataclass
class FakeNvidia:
    """A device root with one GPU below it, and a RIM root with one signer below it."""

    name: str = "device"
    fwid: bytes = hashlib.sha384(b"firmware").digest()
    measurements: dict[int, bytes] = field(
        default_factory=lambda: {
            index: hashlib.sha384(b"block %d" % index).digest() for index in range(1, 65)
        }
    )

    def __post_init__(self) -> None:
        self.root_key, self.ica_key = key(f"{self.name} root"), key(f"{self.name} ica")
        self.leaf_key = key(f"{self.name} leaf")
        self.rim_root_key, self.rim_key = key("rim root"), key("rim signer")
        self.root = certificate("Root", "Root", self.root_key, self.root_key)
        self.ica = certificate("ICA", "Root", self.ica_key, self.root_key)
        self.leaf = self.make_leaf()
        self.rim_leaf = certificate("RIM", "RIM Root", self.rim_key, self.rim_root_key, ca=False)
        self.rim_root = certificate("RIM Root", "RIM Root", self.rim_root_key, self.rim_root_key)

    def make_leaf(self, **changes: bytes | None) -> x509.Certificate:
        """The GPU's certificate; ``fwid`` can be another one, or None."""
        fwid = changes.get("fwid", self.fwid)
        return certificate(
            "GH100 A01 GSP FMC LF", "ICA", self.leaf_key, self.ica_key, ca=False, fwid=fwid
        )

    @property
    def chain(self) -> bytes:
        """The GPU's chain, leaf first, as PEM."""
        return pem(self.leaf, self.ica, self.root)

    def opaque(self) -> dict[int, bytes]:
        """The opaque fields of a GPU in single-GPU confidential mode."""
        return {
            6: bytes.fromhex("007400961a000000"),
            11: b"\x55",
            15: b"882\0",
            17: b"1010\0",
            18: b"0200\0",
            3: DRIVER.encode() + b"\0",
            20: self.fwid,
            21: b"\x55",
            34: b"\x01\x00",
            36: b"\x00\x00",
        }

    def report(
        self,
        nonce: bytes,
        *,
        opaque: dict[int, bytes] | None = None,
        signer: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """A signed SPDM report."""
        blocks = b"".join(
            struct.pack("<BBHBH", index, 1, len(value) + 3, 0x33, len(value)) + value
            for index, value in self.measurements.items()
        )
        fields = b"".join(
            struct.pack("<HH", number, len(value)) + value
            for number, value in (opaque or self.opaque()).items()
        )
        signed = (
            b"\x11\xe0\x01\xff"
            + nonce
            + b"\0"
            + b"\x11\x60\0\0"
            + bytes([len(self.measurements)])
            + len(blocks).to_bytes(3, "little")
            + blocks
            + bytes(32)
            + len(fields).to_bytes(2, "little")
            + fields
        )
        return signed + sign(signer or self.leaf_key, signed)

    def rim(
        self,
        *,
        version: str = VBIOS,
        indices: range | tuple[int, ...] = range(12),
        changed: tuple[int, ...] = (),
        product: str = "GH100",
        tamper: bool = False,
    ) -> str:
        """A signed RIM of these indices, written in its canonical form."""
        lines = []
        for index in indices:
            value = self.measurements[index + 1].hex()
            other = "ab" * 48
            first = other if index in changed else value
            lines.append(
                f'<n:Resource h:Hash0="{"cd" * 48}" h:Hash1="{first}" active="True" '
                f'alternatives="2" index="{index}" name="m&amp;{index}" size="48" '
                'type="Measurement"></n:Resource>'
            )
        # Attributes in the order that C14N gives: unprefixed first, then by namespace.
        lines = [_ordered(line) for line in lines]
        body = (
            f'<n:SoftwareIdentity xmlns:h="{_HASH}" xmlns:n="{_SWID}" name="x">'
            f'<n:Meta colloquialVersion="{version}" product="{product}"></n:Meta>'
            f"<n:Payload>\n{''.join(lines)}</n:Payload>\n"
        )
        end = "</n:SoftwareIdentity>"
        digest = base64.b64encode(hashlib.sha384((body + end).encode()).digest()).decode()
        inner = (
            f'<d:CanonicalizationMethod Algorithm="{_C14N}"></d:CanonicalizationMethod>'
            f'<d:SignatureMethod Algorithm="{_MORE}ecdsa-sha384"></d:SignatureMethod>'
            '<d:Reference URI=""><d:Transforms>'
            f'<d:Transform Algorithm="{_DSIG}enveloped-signature"></d:Transform>'
            f'<d:Transform Algorithm="{_C14N}"></d:Transform></d:Transforms>'
            f'<d:DigestMethod Algorithm="{_MORE}sha384"></d:DigestMethod>'
            f"<d:DigestValue>{digest}</d:DigestValue></d:Reference></d:SignedInfo>"
        )
        spaces = f' xmlns:d="{_DSIG}" xmlns:h="{_HASH}" xmlns:n="{_SWID}"'
        signature = sign(self.rim_key, f"<d:SignedInfo{spaces}>{inner}".encode())
        if tamper:
            body = body.replace('index="3"', 'index="5"', 1)
        listed = "".join(
            f"<d:X509Certificate>{base64.b64encode(item.public_bytes(Encoding.DER)).decode()}"
            "</d:X509Certificate>"
            for item in (self.rim_leaf, self.rim_root)
        )
        return (
            f'{body}<d:Signature xmlns:d="{_DSIG}"><d:SignedInfo>{inner}'
            f"<d:SignatureValue>{base64.b64encode(signature).decode()}</d:SignatureValue>"
            f"<d:KeyInfo><d:X509Data>{listed}</d:X509Data></d:KeyInfo></d:Signature>{end}"
        )


def _ordered(line: str) -> str:
    head, _, rest = line.partition(" ")
    attributes, _, tail = rest.partition(">")
    plain = [item for item in attributes.split(" ") if not item.startswith("h:")]
    hashed = [item for item in attributes.split(" ") if item.startswith("h:")]
    return f"{head} {' '.join(plain + hashed)}>{tail}"
