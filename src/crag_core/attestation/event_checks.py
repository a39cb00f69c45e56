"""Event logs against a quote's registers, and their events against a policy. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crag_core.attestation.aael import RTMR3_INDEX, Aael, events_of, is_text, parse_text
from crag_core.attestation.ccel import EV_NO_ACTION, parse_ccel
from crag_core.attestation.policy import EventPolicy
from crag_core.attestation.quote import Quote
from crag_core.attestation.verdict import Checks
from crag_core.errors import AttestationRejected


@dataclass(frozen=True)
class _Replayed:
    """Registers by index 1 to 4 (RTMR0 to RTMR3) as far as the logs cover them, and the events."""

    registers: Mapping[int, bytes]
    events: Sequence[Aael]


def examine_events(
    quote: Quote | None, logs: Sequence[bytes], policy: EventPolicy, checks: Checks
) -> None:
    """Check the logs of a TD: none, a CCEL, a text AAEL, or one of each.

    A text AAEL beside a CCEL covers RTMR3 alone; the CCEL must then say nothing about it.
    Checks: ``event-log``, and one for each event and each exclusive domain of the policy.
    """
    if not logs:
        if policy.required or policy.contains or policy.exclusive:
            checks.add("event-log", False, "The policy wants an event log, there is none.")
        return
    if quote is None:
        checks.add("event-log", False, "There is no quote to compare the event log with.")
        return
    with checks.step("event-log"):
        replayed = _replay(logs)
        _compare(quote, replayed.registers, policy, checks)
        _match(replayed.events, policy, checks)


def _replay(logs: Sequence[bytes]) -> _Replayed:
    texts = [parse_text(log) for log in logs if is_text(log)]
    tables = [parse_ccel(log) for log in logs if not is_text(log)]
    if len(texts) > 1 or len(tables) > 1:
        raise AttestationRejected("There are two event logs for the same registers.")
    registers: dict[int, bytes] = {}
    events: list[Aael] = []
    for table in tables:
        registers.update(table.replay())
        events += events_of(table)
    for lines, register in texts:
        told = [
            event
            for table in tables
            for event in table.events
            if event.index == RTMR3_INDEX and event.kind != EV_NO_ACTION
        ]
        if told:
            raise AttestationRejected("Two event logs tell of RTMR3.")
        registers[RTMR3_INDEX] = register
        events += lines
    return _Replayed(registers, events)


def _compare(
    quote: Quote, registers: Mapping[int, bytes], policy: EventPolicy, checks: Checks
) -> None:
    wrong = [
        f"RTMR{index - 1}"
        for index in sorted(registers)
        if registers[index] != quote.rtmr(index - 1)
    ]
    partial = len(registers) == 1
    if wrong:
        detail = f"The event log does not replay to the quote's {', '.join(wrong)}."
        checks.add("event-log", False, detail)
    elif partial and policy.required:
        checks.add("event-log", False, "The event log covers RTMR3 only, the policy wants all.")
    else:
        covered = "RTMR3" if partial else "RTMR0 to RTMR3"
        checks.add("event-log", True, f"It replays to the quote's {covered}")


def _match(events: Sequence[Aael], policy: EventPolicy, checks: Checks) -> None:
    lines = [event.line() for event in events]
    for wanted in policy.contains:
        line = f"{wanted.domain} {wanted.operation} {wanted.content}"
        found = line in lines
        detail = line if found else f"The event log lacks the event '{line}'."
        checks.add(f"event {wanted.domain}/{wanted.operation}", found, detail)
    for domain in sorted(policy.exclusive):
        allowed = sorted(
            f"{wanted.domain} {wanted.operation} {wanted.content}"
            for wanted in policy.contains
            if wanted.domain == domain
        )
        present = sorted(event.line() for event in events if event.domain == domain)
        ok = present == allowed
        detail = f"{len(present)} events" if ok else f"The domain {domain} has other events."
        checks.add(f"events of {domain}", ok, detail)
