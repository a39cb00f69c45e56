"""Attestation-agent event logs (AAEL): what software measures after boot, into RTMR3.

Two forms. Text: a line ``INIT sha384/<hex>``, then lines ``domain operation content``; each line's
SHA-384 extends the register, the first line's too. TCG2: an ``EV_EVENT_TAG`` of a CCEL, its data
the tag ``AAEL``, a length and the same line; its digest covers tag, length and line.
Source: guest-components f132e63, attestation-agent; three recorded logs replay so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crag_core.attestation.ccel import EV_EVENT_TAG, EventLog, LogEvent
from crag_core.errors import AttestationRejected

RTMR3_INDEX = 4
MAX_TEXT = 4 * 1024 * 1024
_INIT = b"INIT sha384/"
ZERO_INIT = _INIT + b"0" * 96
_TAG = (0x4141454C).to_bytes(4, "little")


@dataclass(frozen=True)
class Aael:
    """One event: what ``domain`` did (``operation``) to or with what (``content``)."""

    domain: str
    operation: str
    content: str

    def line(self) -> str:
        """The text that is measured."""
        return f"{self.domain} {self.operation} {self.content}"

    def as_json(self) -> dict[str, Any]:
        """Domain, operation, content; a content that is JSON is given as JSON."""
        content: Any = self.content
        try:
            parsed = json.loads(self.content)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict | list):
            content = parsed
        return {"domain": self.domain, "operation": self.operation, "content": content}


def write_text(lines: Sequence[str]) -> bytes:
    """The text AAEL of ``lines`` on a register that was zeros; :func:`parse_text` reads it."""
    return b"\n".join([ZERO_INIT, *(line.encode() for line in lines)]) + b"\n"


def is_text(log: bytes) -> bool:
    """Whether ``log`` claims to be a text AAEL."""
    return log.startswith(_INIT)


def parse_text(log: bytes) -> tuple[list[Aael], bytes]:
    """The events of a text AAEL and the RTMR3 (48 bytes) that it replays to.

    Raises:
        AttestationRejected: it is not UTF-8, a line has not three parts, or it does not begin at
            zero, so that nobody could tell what was measured before it.
    """
    if len(log) > MAX_TEXT:
        raise _malformed(f"it has {len(log)} bytes, more than {MAX_TEXT}")
    lines = log.removesuffix(b"\n").split(b"\n")
    if lines[0] != ZERO_INIT:
        raise _malformed("its first line is not INIT with a SHA-384 of zeros")
    register = bytes(48)
    events: list[Aael] = []
    for number, line in enumerate(lines):
        register = hashlib.sha384(register + hashlib.sha384(line).digest()).digest()
        if number:
            events.append(_event(line, f"line {number + 1}"))
    return events, register


def parse_tagged(event: LogEvent) -> Aael | None:
    """The AAEL event that a CCEL event of RTMR3 holds, or None if it is something else.

    Raises:
        AttestationRejected: it says AAEL and is malformed, or its digest is not that of its data,
            so that the register does not vouch for it.
    """
    if event.kind != EV_EVENT_TAG or event.index != RTMR3_INDEX or event.data[:4] != _TAG:
        return None
    size = int.from_bytes(event.data[4:8], "little")
    line = event.data[8:]
    if len(event.data) < 8 or size != len(line):
        raise _malformed("an event's length is not that of its line")
    if not event.proves_data:
        raise AttestationRejected(
            "The event log does not replay: an AAEL event's digest is not that of its text.",
            code="event-log",
        )
    return _event(line, "an event")


def events_of(log: EventLog) -> list[Aael]:
    """Every AAEL event of a CCEL, in order.

    Raises:
        AttestationRejected: see :func:`parse_tagged`.
    """
    found = (parse_tagged(event) for event in log.events)
    return [event for event in found if event is not None]


def _event(line: bytes, place: str) -> Aael:
    try:
        parts = line.decode("utf-8").split(" ", 2)
    except UnicodeDecodeError:
        raise _malformed(f"{place} is not UTF-8") from None
    if len(parts) != 3 or not parts[0] or not parts[1]:
        raise _malformed(f"{place} is not 'domain operation content'")
    return Aael(*parts)


def _malformed(why: str) -> AttestationRejected:
    return AttestationRejected(f"The AAEL is malformed: {why}.", code="malformed-evidence")
