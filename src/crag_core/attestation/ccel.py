"""Event logs of confidential VMs (CCEL), parsed and replayed to the runtime registers.

A log is a crypto-agile TCG2 log: a header event in the old form that names the hash algorithms,
then events with one digest per algorithm. Register index 1 to 4 stands for RTMR0 to RTMR3.
Sources: TCG PC Client Platform Firmware Profile 1.06, 10.2; UEFI 2.10, 38.4.1 (CC measurement
register index); facts replayed against quotes of Google Cloud and Alibaba Cloud.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crag_core.attestation.cursor import Cursor
from crag_core.errors import AttestationRejected

MAX_LOG = 4 * 1024 * 1024
EV_NO_ACTION = 0x00000003
EV_EVENT_TAG = 0x00000006
ALGORITHMS = {0x0004: ("SHA-1", 20), 0x000B: ("SHA-256", 32), 0x000C: ("SHA-384", 48)}
_HASHES = {"SHA-1": "sha1", "SHA-256": "sha256", "SHA-384": "sha384"}
_MAX_EVENTS = 65_536
_END_INDEX = b"\xff\xff\xff\xff"
_SIGNATURE = b"Spec ID Event03\0"

TYPE_NAMES = {
    0x00000000: "EV_PREBOOT_CERT",
    0x00000001: "EV_POST_CODE",
    0x00000003: "EV_NO_ACTION",
    0x00000004: "EV_SEPARATOR",
    0x00000005: "EV_ACTION",
    0x00000006: "EV_EVENT_TAG",
    0x00000007: "EV_S_CRTM_CONTENTS",
    0x00000008: "EV_S_CRTM_VERSION",
    0x00000009: "EV_CPU_MICROCODE",
    0x0000000A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0000000B: "EV_TABLE_OF_DEVICES",
    0x0000000C: "EV_COMPACT_HASH",
    0x0000000D: "EV_IPL",
    0x0000000E: "EV_IPL_PARTITION_DATA",
    0x0000000F: "EV_NONHOST_CODE",
    0x00000010: "EV_NONHOST_CONFIG",
    0x00000011: "EV_NONHOST_INFO",
    0x00000012: "EV_OMIT_BOOT_DEVICE_EVENTS",
    0x80000001: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    0x80000007: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
}


@dataclass(frozen=True)
class LogEvent:
    """One event: register index (0 to 4), type, digest by algorithm name, data."""

    index: int
    kind: int
    digests: Mapping[str, bytes]
    data: bytes

    @property
    def type_name(self) -> str:
        """The TCG name of the type."""
        return TYPE_NAMES.get(self.kind, f"0x{self.kind:08x}")

    @property
    def proves_data(self) -> bool:
        """Whether every digest is the hash of the data, so that the register vouches for it.

        Most events carry data that only describes what was hashed.
        """
        return bool(self.digests) and all(
            hashlib.new(_HASHES[name], self.data, usedforsecurity=False).digest() == digest
            for name, digest in self.digests.items()
        )


@dataclass(frozen=True)
class EventLog:
    """A parsed log.

    ``algorithms``: those that the header names, in its order. ``size``: bytes of header and
    events, without the end.
    """

    algorithms: Sequence[str]
    events: Sequence[LogEvent]
    size: int

    def replay(self, algorithm: str = "SHA-384") -> dict[int, bytes]:
        """The registers by index 1 to 4 after extending zeros with each event's digest.

        ``EV_NO_ACTION`` extends nothing. Every register is in the answer; one without an event
        is zeros.

        Raises:
            AttestationRejected: an event has no digest of that algorithm, or is for a register
                that cannot be extended.
        """
        name = _HASHES[algorithm]
        registers = {index: bytes(hashlib.new(name).digest_size) for index in range(1, 5)}
        for number, event in enumerate(self.events):
            if event.kind == EV_NO_ACTION:
                continue
            digest = event.digests.get(algorithm)
            if digest is None or event.index not in registers:
                raise AttestationRejected(
                    f"The event log is malformed: event {number} extends register index "
                    f"{event.index} without a {algorithm} digest or where there is no register.",
                    code="malformed-evidence",
                )
            extended = hashlib.new(name, registers[event.index] + digest)
            registers[event.index] = extended.digest()
        return registers


def parse_ccel(log: bytes) -> EventLog:
    """Parse a CCEL table.

    Raises:
        AttestationRejected: it is truncated or malformed, or something stands behind its end.
    """
    cursor = Cursor(log, "event log")
    if len(log) > MAX_LOG:
        raise cursor.malformed(f"it has {len(log)} bytes, more than {MAX_LOG}")
    algorithms = _read_header(cursor)
    events: list[LogEvent] = []
    while not _at_end(cursor):
        if len(events) >= _MAX_EVENTS:
            raise cursor.malformed(f"it has more than {_MAX_EVENTS} events")
        events.append(_read_event(cursor, algorithms))
    names = tuple(ALGORITHMS[number][0] for number in algorithms)
    return EventLog(names, tuple(events), cursor.position)


def _read_header(cursor: Cursor) -> list[int]:
    cursor.take(4, "header index")
    if cursor.number(4, "header type") != EV_NO_ACTION:
        raise cursor.malformed("it does not begin with a header event")
    cursor.expect(bytes(20), "header digest")
    header = Cursor(cursor.take(cursor.number(4, "header size"), "header"), "event log")
    header.expect(_SIGNATURE, "header signature")
    header.take(8, "platform class and version")
    algorithms: list[int] = []
    for _ in range(header.number(4, "algorithm count")):
        number, size = header.number(2, "algorithm"), header.number(2, "digest size")
        known = ALGORITHMS.get(number)
        if number in algorithms or known is None or known[1] != size:
            raise cursor.malformed(f"its header names hash {number:#x} with {size} bytes")
        algorithms.append(number)
    if not algorithms:
        raise cursor.malformed("its header names no hash")
    header.take(header.number(1, "vendor size"), "vendor data")
    if header.left:
        raise cursor.malformed("its header is longer than its content")
    return algorithms


def _at_end(cursor: Cursor) -> bool:
    """Whether the log ends here: at its last byte, or in padding of one byte value."""
    rest = cursor.data[cursor.position :]
    if not rest:
        return True
    if (rest[:1] == b"\xff" and len(rest) < len(_END_INDEX)) or rest.startswith(_END_INDEX):
        if rest.strip(b"\xff"):
            raise cursor.malformed(f"something stands behind its end at {cursor.position}")
        return True
    return not rest.strip(b"\0")


def _read_event(cursor: Cursor, algorithms: Sequence[int]) -> LogEvent:
    index = cursor.number(4, "register index")
    kind = cursor.number(4, "event type")
    if index > 4:
        raise cursor.malformed(f"register index {index} does not exist")
    digests: dict[str, bytes] = {}
    for _ in range(cursor.number(4, "digest count")):
        number = cursor.number(2, "digest algorithm")
        if number not in algorithms or ALGORITHMS[number][0] in digests:
            raise cursor.malformed(f"an event has a digest of hash {number:#x}")
        name, size = ALGORITHMS[number]
        digests[name] = cursor.take(size, "digest")
    if len(digests) != len(algorithms):
        raise cursor.malformed("an event lacks a digest that the header names")
    return LogEvent(index, kind, digests, cursor.take(cursor.number(4, "event size"), "event"))
