"""crag's measured events appended to the firmware's event log, as an attestation agent logs them.

The firmware's table ends with what was measured before the operating system ran. What software
extends into RTMR3 afterwards is not in it, so whoever extends must bring the log. Each event is
an ``EV_EVENT_TAG`` of register index 4 with the agent's form of data
(:mod:`crag_core.attestation.aael`), and has a digest for every hash that the log's header names.
Source: TCG PC Client Platform Firmware Profile 1.06, 10.2.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

from crag_core.attestation.aael import RTMR3_INDEX
from crag_core.attestation.ccel import ALGORITHMS, EV_EVENT_TAG, EV_NO_ACTION, parse_ccel
from crag_core.attestation.eventlog import LogEntry

END = b"\xff" * 8
_NUMBERS = {name: number for number, (name, _size) in ALGORITHMS.items()}
_HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384"}
_SHA384 = "SHA-384"


def appended(log: bytes | None, entries: Sequence[LogEntry]) -> bytes:
    """``log`` with ``entries`` behind its last event, closed by eight bytes 0xFF.

    Args:
        log: a CCEL table, with or without the unused end of it; None where the machine has none,
            which gives a log with SHA-384 digests of the entries alone.

    Raises:
        AttestationRejected: ``log`` is malformed.
        BadInput: an entry has no log form.
    """
    made = _header() if log is None else log[: parse_ccel(log).size]
    algorithms = parse_ccel(made).algorithms
    return b"".join([made, *(_event(entry.data(), algorithms) for entry in entries), END])


def before(log: bytes | None) -> tuple[bytes, ...]:
    """The SHA-384 digests by which ``log`` says that RTMR3 was extended, in order.

    Raises:
        AttestationRejected: ``log`` is malformed.
    """
    if log is None:
        return ()
    events = parse_ccel(log).events
    return tuple(
        event.digests[_SHA384]
        for event in events
        if event.index == RTMR3_INDEX and event.kind != EV_NO_ACTION and _SHA384 in event.digests
    )


def _header() -> bytes:
    number, size = _NUMBERS[_SHA384], 48
    spec = b"Spec ID Event03\0" + struct.pack("<IBBBB", 0, 0, 2, 0, 2)
    spec += struct.pack("<IHHB", 1, number, size, 0)
    return struct.pack("<II20sI", 1, EV_NO_ACTION, bytes(20), len(spec)) + spec


def _event(data: bytes, algorithms: Sequence[str]) -> bytes:
    parts = [struct.pack("<III", RTMR3_INDEX, EV_EVENT_TAG, len(algorithms))]
    for name in algorithms:
        digest = hashlib.new(_HASHES[name], data, usedforsecurity=False).digest()
        parts.append(struct.pack("<H", _NUMBERS[name]) + digest)
    return b"".join([*parts, struct.pack("<I", len(data)), data])
