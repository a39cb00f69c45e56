"""Fuzz event logs, CCEL and text. A log that replays to the seed's registers has its events."""

from __future__ import annotations

from crag_core.attestation.aael import events_of, is_text, parse_text
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.claims import event_claims
from fuzz.harness import main
from support import logs

EVENTS = [
    logs.event(1, 0x80000001, bytes(16) + bytes([2] + [0] * 7 + [1] + [0] * 7) + b"P\0K\0x"),
    logs.event(2, 0x80000003, bytes(24) + bytes([8] + [0] * 7) + bytes([4, 4, 8, 0, 65, 0, 0, 0])),
    logs.event(3, logs.IPL, b"grub_cmd linux\0"),
    logs.aael("crag software sha256:" + "aa" * 32),
]
TEXT, REGISTER = logs.text_log(["crag software sha256:" + "aa" * 32])
SEEDS = (logs.ccel(EVENTS), TEXT)
GOOD = [event.line() for event in events_of(parse_ccel(SEEDS[0]))]


def target(data: bytes) -> None:
    """Read a log; the same registers must mean the same AAEL events."""
    if is_text(data):
        events, register = parse_text(data)
        same = register == REGISTER
    else:
        log = parse_ccel(data)
        event_claims(log)
        events = events_of(log)
        same = tuple(log.replay().values()) == logs.rtmrs(EVENTS)
    if same and not {event.line() for event in events} <= set(GOOD):
        raise AssertionError("the registers vouch for an event that was never measured")


if __name__ == "__main__":
    main(target, SEEDS)
