"""Verification of NVIDIA GPU evidence: report, chain, firmware identity, nonce, mode, RIM. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509.oid import NameOID

from crag_core.attestation import rim as rims_module
from crag_core.attestation.anchors import PINNED, Anchors
from crag_core.attestation.gpu_evidence import GpuEvidence
from crag_core.attestation.policy import GpuPolicy
from crag_core.attestation.rim import DRIVER, VBIOS, Rim
from crag_core.attestation.spdm import FWID, Report, parse_report
from crag_core.attestation.verdict import Checks
from crag_core.attestation.x509chain import UNREADABLE, load_chain, verify_chain
from crag_core.errors import AttestationRejected

FWID_OID = x509.ObjectIdentifier("2.23.133.5.4.1")
_OID_SHA384 = bytes.fromhex("0609608648016503040202")
_FWID_SIZE = 48


@dataclass(frozen=True)
class ExaminedGpu:
    """What the examination of one GPU found.

    ``genuine``: NVIDIA's chain signed the report. ``identity``: SHA-256-free name of the device,
    the leaf certificate's serial number. ``claims``: the verdict's entry.
    """

    genuine: bool
    identity: str = ""
    claims: Mapping[str, Any] = field(default_factory=dict)


def examine_gpu(
    evidence: GpuEvidence,
    nonce: bytes,
    at: int,
    policy: GpuPolicy,
    rims: Sequence[Rim],
    checks: Checks,
    anchors: Anchors = PINNED,
) -> ExaminedGpu:
    """Check one GPU's evidence at unix time ``at``; every rule becomes a line of ``checks``.

    Args:
        nonce: 32 bytes that the report must answer to.
        rims: verified RIMs; those of the report's kind and version are compared.

    Nothing is raised for bad evidence. Checks, prefixed ``gpu<index>-``: ``format``, ``chain``,
    ``signature``, ``fwid``, ``nonce``, ``mode``, ``statement``, ``version``, ``rim-vbios``,
    ``rim-driver``.
    """
    prefix = f"gpu{evidence.index}-"
    claims: dict[str, Any] = {"index": evidence.index, "genuine": False}
    report = leaf = None
    with checks.step(f"{prefix}format"):
        report = parse_report(evidence.report)
        checks.add(f"{prefix}format", True, f"SPDM 1.1, {len(report.measurements)} measurements")
    with checks.step(f"{prefix}chain"):
        chain = load_chain(evidence.certificates, "GPU's certificate chain")
        key = verify_chain(chain, anchors.nvidia_device, at, "GPU's certificate chain")
        leaf = chain[0]
        checks.add(f"{prefix}chain", True, f"{len(chain)} certificates to NVIDIA's device root")
    if report is None or leaf is None:
        return ExaminedGpu(False, claims=claims)
    if not _signed(report, key):
        checks.add(f"{prefix}signature", False, "The GPU's certificate did not sign this report.")
        return ExaminedGpu(False, claims=claims)
    checks.add(f"{prefix}signature", True, "ECDSA P-384 by the GPU's own certificate")
    with checks.step(f"{prefix}fwid"):
        _check_fwid(leaf, report)
        checks.add(f"{prefix}fwid", True, "The firmware that signed is the one certified")
    _check_nonce(report, nonce, checks, prefix)
    _check_mode(report, policy, checks, prefix)
    _check_statement(evidence, report, policy, checks, prefix)
    _check_version(report, policy, checks, prefix)
    product = _common_name(leaf)
    compared = {
        kind: _check_rim(report, kind, product, policy, rims, checks, prefix)
        for kind in (VBIOS, DRIVER)
    }
    identity = f"{leaf.serial_number:x}"
    claims.update(
        genuine=True,
        model=product,
        serial=identity,
        driver=report.driver,
        vbios=report.vbios,
        board=report.board,
        mode=report.mode,
        rim=compared,
    )
    return ExaminedGpu(True, identity, claims)


def _signed(report: Report, key: ec.EllipticCurvePublicKey) -> bool:
    r, s = (int.from_bytes(report.signature[i : i + 48], "big") for i in (0, 48))
    try:
        key.verify(encode_dss_signature(r, s), report.signed, ec.ECDSA(hashes.SHA384()))
    except InvalidSignature:
        return False
    return True


def certified_fwid(leaf: x509.Certificate) -> bytes:
    """The firmware identity (48 bytes) in the leaf's extension 2.23.133.5.4.1.

    The extension is a DICE composite device id: version, key, and the hash of the firmware, which
    stands last as ``SEQUENCE {OID sha384, OCTET STRING}``.

    Raises:
        AttestationRejected: there is no such extension, or it has another form.
    """
    try:
        extension = leaf.extensions.get_extension_for_oid(FWID_OID)
    except (x509.ExtensionNotFound, *UNREADABLE):
        raise _refused("The GPU's certificate names no firmware identity.") from None
    value = extension.value
    raw = value.value if isinstance(value, x509.UnrecognizedExtension) else b""
    tail = b"\x30\x3d" + _OID_SHA384 + b"\x04\x30"
    body = raw[3:] if raw[:2] == b"\x30\x81" and raw[2:3] and raw[2] == len(raw) - 3 else b""
    place = len(body) - _FWID_SIZE - len(tail)
    key = b"\x30\x76"
    # version INTEGER (3 bytes), then the P-384 key (0x76 bytes), then nothing but the FWID.
    if place != 3 + 2 + 0x76 or body[3:5] != key or body[place:-_FWID_SIZE] != tail:
        raise _refused("The firmware identity in the GPU's certificate has an unknown form.")
    return body[-_FWID_SIZE:]


def _check_fwid(leaf: x509.Certificate, report: Report) -> None:
    stated = report.opaque.get(FWID)
    if stated is None:
        raise _refused("The GPU's report names no firmware identity.")
    if not hmac.compare_digest(stated, certified_fwid(leaf)):
        raise _refused("The report's firmware identity is not the one that is certified.")


def _check_nonce(report: Report, nonce: bytes, checks: Checks, prefix: str) -> None:
    if len(nonce) == len(report.nonce) and hmac.compare_digest(report.nonce, nonce):
        checks.add(f"{prefix}nonce", True, nonce.hex())
    else:
        detail = f"The report answers to the nonce {report.nonce.hex()}, expected {nonce.hex()}."
        checks.add(f"{prefix}nonce", False, detail)


def _check_mode(report: Report, policy: GpuPolicy, checks: Checks, prefix: str) -> None:
    mode = report.mode
    if mode is None:
        detail = "The report does not tell the GPU's confidential mode"
        checks.add(f"{prefix}mode", not policy.require_mode, detail)
    elif mode in policy.modes:
        checks.add(f"{prefix}mode", True, f"confidential mode {mode}")
    else:
        accepted = ", ".join(sorted(policy.modes)) or "none"
        detail = f"The GPU's confidential mode is {mode}; the policy accepts {accepted}."
        checks.add(f"{prefix}mode", False, detail)


def _check_statement(
    evidence: GpuEvidence, report: Report, policy: GpuPolicy, checks: Checks, prefix: str
) -> None:
    """What the software in the TD says of the GPU; the report itself does not carry it."""
    name = f"{prefix}statement"
    if evidence.cc_enabled is False:
        checks.add(name, False, "The collector says that confidential mode is off.")
    elif evidence.devtools is True:
        checks.add(name, False, "The collector says that developer tools are on (DEVTOOLS).")
    elif evidence.driver and report.driver != evidence.driver:
        checks.add(name, False, "The collector names another driver than the report.")
    elif evidence.vbios and report.vbios != evidence.vbios.upper():
        checks.add(name, False, "The collector names another VBIOS than the report.")
    elif evidence.cc_enabled and evidence.devtools is False:
        checks.add(name, True, "The collector says: confidential mode on, developer tools off")
    else:
        detail = "The collector does not say that confidential mode is on and DEVTOOLS off"
        checks.add(name, not policy.require_statement, detail)


def _check_version(report: Report, policy: GpuPolicy, checks: Checks, prefix: str) -> None:
    name = f"{prefix}version"
    if policy.vbios and report.vbios not in {version.upper() for version in policy.vbios}:
        checks.add(name, False, f"The policy does not accept VBIOS {report.vbios or '(none)'}.")
    elif policy.drivers and report.driver not in policy.drivers:
        checks.add(name, False, f"The policy does not accept driver {report.driver or '(none)'}.")
    else:
        checks.add(name, True, f"driver {report.driver}, VBIOS {report.vbios}")


def _check_rim(
    report: Report,
    kind: str,
    model: str,
    policy: GpuPolicy,
    rims: Sequence[Rim],
    checks: Checks,
    prefix: str,
) -> str:
    """Compare with the RIM of ``kind``; the answer is matched, differs or absent."""
    name = f"{prefix}rim-{kind}"
    required = policy.require_vbios_rim if kind == VBIOS else policy.require_driver_rim
    version = report.vbios if kind == VBIOS else report.driver
    try:
        rim = rims_module.select(rims, kind, version)
    except AttestationRejected as refusal:
        checks.add(name, False, refusal.message)
        return "differs"
    if rim is None:
        detail = f"No {kind} RIM is at hand: these measurements are not compared"
        checks.add(name, not required, detail)
        return "absent"
    if not rim.product or not model.startswith(f"{rim.product} "):
        checks.add(name, False, f"The RIM is for {rim.product or 'nothing'}, the GPU is {model}.")
        return "differs"
    found = rims_module.compare(report, rim, policy.accepted_measurements)
    total = found.matched + len(found.differing)
    detail = f"{found.matched} of {total} measurements are those of {kind} {rim.version}"
    if found.skipped:
        detail += f", {len(found.skipped)} say nothing on this GPU"
    if found.differing or not found.matched:
        named = ", ".join(str(index) for index in found.differing)
        checks.add(name, False, f"{detail}; RIM index {named} differs.")
        return "differs"
    checks.add(name, True, detail)
    return "matched"


def _common_name(leaf: x509.Certificate) -> str:
    names = leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _refused(why: str) -> AttestationRejected:
    return AttestationRejected(why, code="fwid-rejected")
