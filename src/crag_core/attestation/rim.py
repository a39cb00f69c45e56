"""NVIDIA's reference integrity manifests (RIM): verified, and compared with a GPU's report.

A RIM lists, per measurement, the values that one driver or one VBIOS version may give. Index i of a
RIM stands for block i + 1 of the SPDM report: NVIDIA counts from 0, SPDM from 1.
Source: TCG Reference Integrity Manifest Information Model 1.01; NVIDIA's published verifiers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from crag_core.attestation.spdm import Report
from crag_core.attestation.x509chain import MAX_CERTIFICATES, UNREADABLE, verify_chain
from crag_core.attestation.xmlsig import Element, read_signed, refused
from crag_core.errors import AttestationRejected

VBIOS, DRIVER = "vbios", "driver"
NVDEC0_INDEX = 35
_SWID = "{http://standards.iso.org/iso/19770/-2/2015/schema.xsd}"
_HASH = "{http://www.w3.org/2001/04/xmlenc#sha384}Hash"
_VBIOS_VERSION = re.compile(r"[0-9A-F]{2}(\.[0-9A-F]{2}){4}")
_DRIVER_VERSION = re.compile(r"[0-9]{3,4}(\.[0-9]{1,3}){1,3}")
_DIGEST = re.compile(r"[0-9a-fA-F]{96}")


@dataclass(frozen=True)
class Rim:
    """A verified RIM.

    ``kind``: ``vbios`` or ``driver``. ``values``: RIM index -> accepted values (48 bytes each),
    active measurements only.
    """

    kind: str
    version: str
    product: str
    values: Mapping[int, Sequence[bytes]]


@dataclass(frozen=True)
class Comparison:
    """``matched``: how many active measurements are equal; ``differing``: RIM indices that are
    not; ``skipped``: those that say nothing on this GPU."""

    matched: int
    differing: Sequence[int]
    skipped: Sequence[int]


def verify_rim(document: bytes, anchor: bytes, at: int) -> Rim:
    """Verify a RIM's XML signature and certificate chain at unix time ``at``, and read it.

    Raises:
        AttestationRejected: it is malformed, not signed by NVIDIA, or its signer's certificate is
            not valid at ``at``.
    """
    signed = read_signed(document)
    try:
        if not 0 < len(signed.certificates) <= MAX_CERTIFICATES:
            raise refused(f"it carries {len(signed.certificates)} certificates")
        chain = [x509.load_der_x509_certificate(der) for der in signed.certificates]
    except UNREADABLE:
        raise refused("a certificate in it cannot be read") from None
    key = verify_chain(chain, anchor, at, "RIM's certificate chain")
    if len(signed.signature) != 96:
        raise refused("its signature does not have 96 bytes")
    r, s = (int.from_bytes(signed.signature[i : i + 48], "big") for i in (0, 48))
    try:
        key.verify(encode_dss_signature(r, s), signed.info, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        raise refused("its signature is wrong") from None
    return _read(signed.root)


def _read(root: Element) -> Rim:
    if root.tag != f"{_SWID}SoftwareIdentity":
        raise refused("it is no SoftwareIdentity")
    meta = root.only(f"{_SWID}Meta").attributes
    version = meta.get("colloquialVersion", "")
    if _VBIOS_VERSION.fullmatch(version.upper()):
        kind, version = VBIOS, version.upper()
    elif _DRIVER_VERSION.fullmatch(version):
        kind = DRIVER
    else:
        raise refused("its version is neither a VBIOS's nor a driver's")
    values: dict[int, Sequence[bytes]] = {}
    for element in root.only(f"{_SWID}Payload").elements():
        if element.tag != f"{_SWID}Resource" or element.attributes.get("type") != "Measurement":
            raise refused("its payload holds something else than measurements")
        _read_measurement(element.attributes, values)
    if not values:
        raise refused("it has no active measurement")
    return Rim(kind, version, meta.get("product", ""), values)


def _read_measurement(attributes: Mapping[str, str], values: dict[int, Sequence[bytes]]) -> None:
    active = attributes.get("active")
    if active not in ("True", "False"):
        raise refused("a measurement is neither active nor inactive")
    if active == "False":
        return
    index, count = attributes.get("index", ""), attributes.get("alternatives", "")
    if not re.fullmatch(r"[0-9]{1,3}", index) or not re.fullmatch(r"[0-9]{1,3}", count):
        raise refused("a measurement has no index or no count of alternatives")
    if int(index) in values:
        raise refused(f"measurement {index} comes twice")
    texts = [attributes.get(f"{_HASH}{number}", "") for number in range(int(count))]
    if not texts or attributes.get("size") != "48" or not all(map(_DIGEST.fullmatch, texts)):
        raise refused(f"measurement {index} has a value that is no SHA-384")
    values[int(index)] = [bytes.fromhex(text) for text in texts]


def select(rims: Sequence[Rim], kind: str, version: str) -> Rim | None:
    """The RIM of that kind for that version, or None if no RIM of that kind is at hand.

    Raises:
        AttestationRejected: there are RIMs of that kind, none of them for this version.
    """
    candidates = [rim for rim in rims if rim.kind == kind]
    for rim in candidates:
        if rim.version.upper() == version.upper():
            return rim
    if candidates:
        known = ", ".join(sorted({rim.version for rim in candidates}))
        raise AttestationRejected(
            f"The GPU's {kind} version {version or '(none)'} has no RIM; there are RIMs for "
            f"{known}.",
            code="rim-rejected",
        )
    return None


def compare(report: Report, rim: Rim, accepted: Mapping[int, frozenset[bytes]]) -> Comparison:
    """Compare a report's measurements with a RIM; ``accepted`` adds values by RIM index.

    The first of the RIM's alternatives and all others count alike. With the video decoder off,
    measurement 35 is skipped, as NVIDIA's verifiers do.
    """
    differing, skipped, matched = [], [], 0
    for index in sorted(rim.values):
        if index == NVDEC0_INDEX and report.nvdec0_disabled:
            skipped.append(index)
            continue
        value = report.measurements.get(index + 1)
        if value is not None and (value in rim.values[index] or value in accepted.get(index, ())):
            matched += 1
        else:
            differing.append(index)
    return Comparison(matched, differing, skipped)
