"""Sample evidence: made by software alone, where a machine has no TEE.

It has the exact form that Trustee's and TNG's sample verifiers read: what was measured as a
register and the log that replays to it, and the caller's report data. Nothing signs it: whoever
runs changed code can claim anything. It is for trying and for tests, and every consumer accepts it
only where the person in charge says so.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import Any

from crag_core.attestation import eventlog
from crag_core.attestation.measurement import Measurement
from crag_core.errors import AttestationRejected, BadInput

TEE = "sample"
SVN = "1"
MAX_REPORT_DATA = 64

_MEMBERS = {"svn", "report_data", "measure_register", "cc_eventlog"}


def build(measurement: Measurement, report_data: bytes) -> dict[str, Any]:
    """Sample evidence of ``measurement`` bound to ``report_data`` (1 to 64 bytes, raw).

    Returns:
        ``{"svn", "report_data": base64, "measure_register": hex, "cc_eventlog": base64}``.

    Raises:
        BadInput: the report data is empty or longer than 64 bytes.
    """
    if not 1 <= len(report_data) <= MAX_REPORT_DATA:
        raise BadInput(
            f"The report data has {len(report_data)} bytes; evidence carries 1 to 64.",
            hint="Pass the SHA-384 of the runtime data.",
        )
    return {
        "svn": SVN,
        "report_data": base64.b64encode(report_data).decode(),
        "measure_register": measurement.register().hex(),
        "cc_eventlog": base64.b64encode(measurement.eventlog()).decode(),
    }


def verify(evidence: dict[str, Any], expected_report_data: bytes) -> dict[str, Any]:
    """Check sample evidence against what the verifier expects it to be bound to.

    Args:
        evidence: the object that :func:`build` makes.
        expected_report_data: what the verifier computed itself, never what the evidence says.

    Returns:
        The claims: ``{"svn", "measure_register": hex, "events": {name: SHA-256 hex}}``.

    Raises:
        AttestationRejected: a member is missing, unknown or malformed; the report data is another;
            the log doesn't replay to the register, or logs something twice.
    """
    if not isinstance(evidence, dict) or not all(isinstance(name, str) for name in evidence):
        raise _refused("it is not an object")
    unknown = sorted(set(evidence) - _MEMBERS)
    if unknown:
        raise _refused(f"it has the unknown member {unknown[0][:40]!r}")
    for name in sorted(_MEMBERS):
        if not isinstance(evidence.get(name), str):
            raise _refused(f"its member {name} is missing or not a string")
    if evidence["svn"] != SVN:
        raise _refused(f"its security version is not {SVN}")
    _require_binding(evidence["report_data"], expected_report_data)
    log = _base64(evidence["cc_eventlog"], "cc_eventlog")
    entries = eventlog.read(log)
    register = eventlog.replay(log)
    if not hmac.compare_digest(register.hex().encode(), evidence["measure_register"].encode()):
        raise _refused("its event log does not replay to its measurement register")
    events = {entry.name: entry.content_digest.hex() for entry in entries}
    if len(events) != len(entries):
        raise _refused("its event log measures something twice")
    return {"svn": SVN, "measure_register": register.hex(), "events": events}


def _require_binding(encoded: str, expected: bytes) -> None:
    if not expected:
        raise _refused("the verifier has nothing that it should be bound to")
    if not hmac.compare_digest(_base64(encoded, "report_data"), expected):
        raise AttestationRejected(
            "The evidence is bound to something else: its report data is not the hash of this "
            "session's runtime data.",
            hint="It was made for another session, or the session's data was changed on its way.",
            code="binding-mismatch",
        )


def _base64(text: str, member: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _refused(f"its member {member} is not standard base64") from None
    if base64.b64encode(raw).decode() != text:
        raise _refused(f"its member {member} is not in the one standard form of base64")
    return raw


def _refused(why: str) -> AttestationRejected:
    return AttestationRejected(
        f"The sample evidence is not usable: {why}.",
        hint="It was changed on its way, or was not made by crag-provider.",
        code="sample-evidence-invalid",
    )
