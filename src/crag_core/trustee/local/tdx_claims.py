"""The claims of verified TDX evidence, in the shape that the Trustees' policies read.

Names and encodings are those of openanolis Trustee 1.9 (``quote``, ``uefi_event_logs``,
``tcb_verification``), with what upstream adds (``tcb_status``, ``advisory_ids``,
``td_attributes``), with the text log of 1.5 (``aael``), and with crag's own events by name.
Quotes and registers are lower-case hex of the bytes as they stand in the quote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crag_core.attestation.aael import Aael, events_of, is_text, parse_text
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.claims import event_claims
from crag_core.attestation.eventlog import DOMAIN
from crag_core.attestation.verdict import Verdict
from crag_core.errors import AttestationRejected

_HEADER = (
    ("version", 2),
    ("att_key_type", 2),
    ("tee_type", 4),
    ("reserved", 4),
    ("vendor_id", 16),
    ("user_data", 20),
)
_RENAMED = {
    "tee_tcb_svn": "tcb_svn",
    "mr_signer_seam": "mrsigner_seam",
    "mr_service_td": "mr_servicetd",
    **{f"rtmr{index}": f"rtmr_{index}" for index in range(4)},
}
_FLAGS = {"debug": 0, "septve_disable": 28, "protection_keys": 30, "key_locker": 31, "perfmon": 63}
_TDX = 0x81


def tdx_claims(verdict: Verdict, quote: bytes, logs: Sequence[bytes]) -> dict[str, Any]:
    """The claims of a quote and its logs that ``verdict`` affirms.

    Raises:
        AttestationRejected: an event of crag's is logged twice, or not in its form.
    """
    body = {_RENAMED.get(name, name): value for name, value in verdict.measurements.items()}
    attributes = int.from_bytes(bytes.fromhex(body["td_attributes"]), "little")
    claims: dict[str, Any] = {
        "quote": {"header": _header(quote), "body": body},
        "td_attributes": {name: bool(attributes >> bit & 1) for name, bit in _FLAGS.items()},
        **_tcb(verdict.tcb),
    }
    events: list[Aael] = []
    for log in logs:
        if is_text(log):
            lines, _register = parse_text(log)
            events += lines
            claims["aael"] = _by_operation(lines)
        else:
            table = parse_ccel(log)
            claims["uefi_event_logs"] = event_claims(table)
            events += events_of(table)
    claims["events"] = _own(events)
    return claims


def _header(quote: bytes) -> dict[str, str]:
    found = {}
    place = 0
    for name, size in _HEADER:
        found[name] = quote[place : place + size].hex()
        place += size
    return found


def _tcb(tcb: Mapping[str, Any]) -> dict[str, Any]:
    advisories = [str(item) for item in tcb.get("advisories", ())]
    status = str(tcb.get("status", ""))
    return {
        "tcb_status": status,
        "advisory_ids": advisories,
        # Collateral that has expired never gets here.
        "collateral_expiration_status": "0",
        "tcb_verification": {
            "tcb_status": status,
            "collateral_expired": False,
            "earliest_issue_date": tcb.get("collateral_issued"),
            "earliest_expiration_date": tcb.get("collateral_expires"),
            "tcb_eval_ref_num": tcb.get("evaluation"),
            "advisory_ids": ",".join(advisories),
            "tee_type": _TDX,
        },
    }


def _by_operation(events: Sequence[Aael]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(f"{event.domain}/{event.operation}", []).append(event.content)
    return found


def _own(events: Sequence[Aael]) -> dict[str, str]:
    """crag's measured events: name to SHA-256 of their content, in hex."""
    found: dict[str, str] = {}
    for event in events:
        if event.domain != DOMAIN:
            continue
        if event.operation in found:
            raise AttestationRejected(f"The event log measures {DOMAIN} events twice.")
        algorithm, _, digest = event.content.partition(":")
        if algorithm != "sha256" or len(digest) != 64:
            raise AttestationRejected(f"An event of {DOMAIN} in the event log has no digest.")
        found[event.operation] = digest
    return found
