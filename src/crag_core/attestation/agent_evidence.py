"""An attestation agent's evidence object taken apart; nothing in it is verified against Intel.

What is checked is that it is whole: its logs replay to the registers of its own quote. Source of
the members: guest-components f132e63, attester for TDX.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from crag_core.attestation.aael import Aael, events_of, is_text, parse_text
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.quote import Quote, parse_quote
from crag_core.errors import AttestationRejected


def read_json(body: bytes) -> object:
    """What the agent answered.

    Raises:
        AttestationRejected: it is not JSON.
    """
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        raise malformed("it is not JSON") from None
    return found


def quote_of(evidence: Mapping[str, Any]) -> Quote:
    """The quote in ``evidence``.

    Raises:
        AttestationRejected: there is none, or it is malformed.
    """
    quote = _decoded(evidence, "quote")
    if quote is None:
        raise malformed("it has no quote")
    return parse_quote(quote)


def replayed(evidence: Mapping[str, Any], quote: Quote) -> list[Aael]:
    """The agent's events in the logs of ``evidence``, which replay to the quote's registers.

    Raises:
        AttestationRejected: a log is malformed, or does not replay.
    """
    registers: dict[int, bytes] = {}
    events: list[Aael] = []
    table, text = _decoded(evidence, "cc_eventlog"), evidence.get("aa_eventlog")
    if table is not None and not is_text(table):
        parsed = parse_ccel(table)
        registers.update(parsed.replay())
        events += events_of(parsed)
    if text:
        if not isinstance(text, str):
            raise malformed("its aa_eventlog is no text")
        lines, registers[4] = parse_text(text.encode("utf-8", "replace"))
        events += lines
    wrong = [index - 1 for index, value in registers.items() if value != quote.rtmr(index - 1)]
    if wrong or (4 not in registers and any(quote.rtmr(3))):
        raise AttestationRejected(
            f"The attestation agent's event log does not replay to RTMR{(wrong or [3])[0]}.",
            hint="Something else than the agent measures on this machine; start it anew.",
            code="event-log",
        )
    return events


def _decoded(evidence: Mapping[str, Any], name: str) -> bytes | None:
    value = evidence.get(name)
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise malformed(f"its {name} is not base64") from None


def malformed(why: str) -> AttestationRejected:
    """The refusal of evidence that cannot be read, and ``why``."""
    return AttestationRejected(
        f"The attestation agent's evidence is malformed: {why}.", code="malformed-evidence"
    )
