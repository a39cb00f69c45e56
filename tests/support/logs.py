"""Event logs written by hand, independent of the code that reads them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

NO_ACTION, EVENT_TAG, IPL = 3, 6, 13
ZERO_INIT = "INIT sha384/" + "0" * 96
Event = tuple[int, int, bytes, bytes]


def header() -> bytes:
    """The old-form event that names SHA-384."""
    spec = b"Spec ID Event03\0" + bytes([0, 0, 0, 0, 0, 2, 0, 2])
    spec += struct.pack("<IHHB", 1, 0x000C, 48, 0)
    return struct.pack("<II20sI", 1, NO_ACTION, bytes(20), len(spec)) + spec


def event(index: int, kind: int, data: bytes, digest: bytes | None = None) -> Event:
    """An event whose digest is that of its data unless another one is given."""
    return index, kind, data, hashlib.sha384(data).digest() if digest is None else digest


def aael(line: str, index: int = 4) -> Event:
    """A tagged AAEL event."""
    text = line.encode()
    return event(index, EVENT_TAG, b"LEAA" + len(text).to_bytes(4, "little") + text)


def ccel(events: Sequence[Event], end: bytes = b"\xff" * 8) -> bytes:
    """The log of these events."""
    log = header()
    for index, kind, data, digest in events:
        log += struct.pack("<IIIH", index, kind, 1, 0x000C) + digest
        log += len(data).to_bytes(4, "little") + data
    return log + end


def fold(digests: Sequence[bytes]) -> bytes:
    """A register after these digests."""
    register = bytes(48)
    for digest in digests:
        register = hashlib.sha384(register + digest).digest()
    return register


def rtmrs(events: Sequence[Event]) -> tuple[bytes, ...]:
    """RTMR0 to RTMR3 after these events."""
    return tuple(
        fold([digest for at, kind, _, digest in events if at == index and kind != NO_ACTION])
        for index in range(1, 5)
    )


def text_log(lines: Sequence[str]) -> tuple[bytes, bytes]:
    """A text AAEL and its RTMR3."""
    every = [ZERO_INIT, *lines]
    return "\n".join(every).encode(), fold([hashlib.sha384(x.encode()).digest() for x in every])
