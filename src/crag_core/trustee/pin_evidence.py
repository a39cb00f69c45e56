"""The evidence inside a measurement that is to be pinned: what can be verified of it, is.

A policy pins what a measurement says. Whoever hands over a measurement could have made it up, so
its quote is verified where Intel's collateral is at hand, and its event log always: it must replay
to the quote, and must not measure another service than the one that the reference values name.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crag_core.attestation.anchors import PINNED, Anchors
from crag_core.errors import AttestationRejected, BadInput
from crag_core.trustee.pins import json_object

if TYPE_CHECKING:
    from crag_core.attestation.policy import Policy

_HINT = "Make it anew with 'crag-provider attest --json' on the machine that shall be trusted."


@dataclass(frozen=True)
class Looked:
    """What was found about one measurement: whether its quote was verified, and why not."""

    name: str
    verified: bool
    why: str = ""


def look(
    name: str,
    data: bytes,
    collateral: Sequence[Mapping[str, Any]],
    policy: Policy,
    *,
    at: int | None = None,
    anchors: Anchors = PINNED,
) -> Looked:
    """Look at the evidence of one measurement.

    Args:
        name: of its file, for messages.
        data: what ``crag-provider attest --json`` printed.
        collateral: of the platforms that may have made it; one must fit. Empty: nothing is at hand.
        policy: what is tolerated of a platform.
        at: unix time; now where None is given.
        anchors: other than the pinned ones in tests only.

    Raises:
        BadInput: there is no evidence that can be read, or it is of another service.
        AttestationRejected: the quote is not genuine, or the log does not replay to it.
        NotSupported: `dcap-qvl` is not installed.
    """
    found = json_object(data, name)
    if found.get("tee") != "tdx":
        return Looked(name, False, "it is software's word, which nothing vouches for")
    evidence = found.get("evidence")
    if not isinstance(evidence, dict):
        raise BadInput(f"{name} has no evidence.", hint=_HINT)
    quote, log = _part(name, evidence, "quote"), _part(name, evidence, "cc_eventlog")
    if quote is None:
        raise BadInput(f"{name} has no quote.", hint=_HINT)
    text = evidence.get("aa_eventlog")
    agent = text.encode("utf-8", "replace") if isinstance(text, str) and text else None
    _require_own(name, quote, [part for part in (log, agent) if part is not None], found)
    if not collateral:
        return Looked(name, False, "there is no collateral of Intel's for it")
    from crag_core.attestation.offline import verify_recorded

    gpus = evidence.get("gpu_evidence")
    failures: list[AttestationRejected] = []
    for one in collateral:
        verdict = verify_recorded(
            quote,
            one,
            int(time.time()) if at is None else at,
            log,
            json.dumps(gpus).encode() if gpus else None,
            policy=policy,
            agent_log=agent,
            anchors=anchors,
        )
        try:
            verdict.require()
        except AttestationRejected as error:
            failures.append(error)
        else:
            return Looked(name, True)
    failure = failures[-1]
    raise AttestationRejected(
        f"The quote in {name} is refused: {failure.message}",
        hint="Don't pin it, unless you know why.",
        code=failure.code,
        details=failure.details,
    )


def _require_own(name: str, quote: bytes, logs: list[bytes], found: Mapping[str, Any]) -> None:
    """The logs must replay, and what they say of crag must be what the reference values say."""
    from crag_core.attestation.aael import events_of, is_text, parse_text
    from crag_core.attestation.ccel import parse_ccel
    from crag_core.attestation.event_checks import examine_events
    from crag_core.attestation.eventlog import DOMAIN
    from crag_core.attestation.policy import EventPolicy
    from crag_core.attestation.quote import parse_quote
    from crag_core.attestation.verdict import Checks

    checks = Checks()
    examine_events(parse_quote(quote), logs, EventPolicy(), checks)
    wrong = next((check for check in checks.items if not check.ok), None)
    if wrong is not None:
        raise AttestationRejected(f"{name}: {wrong.detail}", hint=_HINT, code="event-log")
    values = found.get("reference_values")
    for log in logs:
        events = parse_text(log)[0] if is_text(log) else events_of(parse_ccel(log))
        for event in events:
            known = values.get(f"crag.{event.operation}") if isinstance(values, dict) else None
            told = event.content.removeprefix("sha256:")
            if event.domain == DOMAIN and told not in (known or ()):
                raise BadInput(
                    f"The event log in {name} measures another {event.operation[:32]} than its "
                    "reference values name.",
                    hint="Another service was measured on that machine since its start; start it "
                    "anew and measure again.",
                )


def _part(name: str, evidence: Mapping[str, Any], member: str) -> bytes | None:
    value = evidence.get(member)
    if value is None:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise BadInput(f"The {member} in {name} is not base64.", hint=_HINT) from None
