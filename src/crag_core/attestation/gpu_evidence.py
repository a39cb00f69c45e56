"""GPU evidence as it is carried: raw report and chain, or the JSON objects of the Trustees.

Source of the JSON forms: Trustee forks' ``gpu_evidence`` (``evidence_list``) and upstream's
``device_evidence_list``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.errors import AttestationRejected

MAX_GPUS = 16
_MAX_INPUT = 4 * 1024 * 1024


@dataclass(frozen=True)
class GpuEvidence:
    """One GPU's evidence, nothing of it verified.

    ``report``: SPDM request and response. ``certificates``: PEM, leaf first. The rest is what the
    collector states; None or empty where it says nothing.
    """

    index: int
    report: bytes
    certificates: bytes
    cc_enabled: bool | None = None
    devtools: bool | None = None
    driver: str = ""
    vbios: str = ""


def load_gpu_evidence(report: bytes, certificates: bytes | None) -> list[GpuEvidence]:
    """Read GPU evidence from files or members.

    Args:
        report: an SPDM report (raw or hex), or a JSON object with ``evidence_list`` or
            ``device_evidence_list``, or one such entry.
        certificates: PEM chain for a bare report; entries bring their own.

    Raises:
        AttestationRejected: it is neither, or something in it is missing.
    """
    if len(report) > _MAX_INPUT:
        raise _malformed(f"it has {len(report)} bytes, more than {_MAX_INPUT}")
    if report.lstrip()[:1] in (b"{", b"["):
        return [_entry(index, item) for index, item in enumerate(_entries(report))]
    if certificates is None:
        raise AttestationRejected(
            "The GPU's report came without its certificate chain.",
            hint="Give the chain as PEM with --gpu-certs.",
            code="malformed-evidence",
        )
    return [GpuEvidence(0, _raw(report), certificates)]


def _raw(report: bytes) -> bytes:
    """A report that is given as hex text, decoded; anything else as it is."""
    text = b"".join(report.split())
    if text[:4] != b"11e0":
        return report
    try:
        return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise _malformed("it is hex with a mistake") from None


def _entries(report: bytes) -> list[Any]:
    try:
        data = json.loads(report)
    except (ValueError, RecursionError):
        raise _malformed("it is not JSON") from None
    if isinstance(data, dict):
        for name in ("evidence_list", "device_evidence_list"):
            if name in data:
                data = data[name]
                break
        else:
            data = [data]
    if not isinstance(data, list) or not 0 < len(data) <= MAX_GPUS:
        raise _malformed(f"it does not list 1 to {MAX_GPUS} GPUs")
    return data


def _entry(index: int, item: object) -> GpuEvidence:
    if not isinstance(item, dict):
        raise _malformed(f"entry {index} is no object")
    encoded = item.get("attestation_report", item.get("evidence"))
    report = _decode(encoded, index)
    chain = _decode(item.get("certificate"), index)
    return GpuEvidence(
        index=index,
        report=report,
        certificates=chain,
        cc_enabled=_flag(item, "cc_enabled", index),
        devtools=_flag(item, "devtools", index),
        driver=_string(item, "driver_version", index),
        vbios=_string(item, "vbios_version", index),
    )


def _decode(value: object, index: int) -> bytes:
    if not isinstance(value, str) or not value:
        raise _malformed(f"entry {index} lacks its report or its chain")
    if value[:4].lower() == "11e0":
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise _malformed(f"entry {index} is hex with a mistake") from None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(f"entry {index} is not base64") from None


def _flag(item: Mapping[str, Any], name: str, index: int) -> bool | None:
    value = item.get(name)
    if value is not None and not isinstance(value, bool):
        raise _malformed(f"entry {index} has a member {name} that is neither true nor false")
    return value


def _string(item: Mapping[str, Any], name: str, index: int) -> str:
    value = item.get(name)
    if value is not None and not isinstance(value, str):
        raise _malformed(f"entry {index} has a member {name} that is no text")
    return value or ""


def _malformed(why: str) -> AttestationRejected:
    return AttestationRejected(f"The GPU evidence is malformed: {why}.", code="malformed-evidence")
