"""crag's own event log, in the form of the logs that confidential VMs carry (CCEL, TCG2).

A log is a header event that names the hash, one tagged event for each thing that is measured, and
eight bytes 0xFF. A tagged event's data is Trustee's AAEL form: the tag ``AAEL``, a length, and the
line ``domain operation content``; here ``crag software sha256:<hex>``. Its digest is the SHA-256
of tag, length and line. Replaying the digests gives the register: from 32 zero bytes,
``register = SHA-256(register || digest)``.

Sources: TCG PC Client Platform Firmware Profile 1.06, sections 10.2.1 and 10.4.5.1; Trustee's
sample verifier, which replays the SHA-256 digests of register index 1.

:func:`read` takes nothing but what :func:`write` makes, so that nothing can hide in a log that
replays well. The logs of real hardware hold more: see
:mod:`crag_core.attestation.ccel`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from crag_core.attestation.ccel import EV_EVENT_TAG, EV_NO_ACTION, parse_ccel
from crag_core.errors import AttestationRejected, BadInput

REGISTER_INDEX = 1
DOMAIN = "crag"
MAX_LOG_BYTES = 64 * 1024

_TPM_ALG_SHA256 = 0x000B
_AAEL = 0x4141454C
_END = b"\xff" * 8

_SPEC_ID = (
    b"Spec ID Event03\0"
    + struct.pack("<IBBBB", 0, 0, 2, 0, 2)
    + struct.pack("<IHHB", 1, _TPM_ALG_SHA256, 32, 0)
)
_HEADER = struct.pack("<II20sI", REGISTER_INDEX, EV_NO_ACTION, bytes(20), len(_SPEC_ID)) + _SPEC_ID
_EVENT = struct.Struct("<IIIH32sI")
_TAG = struct.Struct("<II")
_LINE = re.compile(r"crag ([a-z][a-z0-9-]{0,31}) sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class LogEntry:
    """One measured thing: its name and the SHA-256 (32 bytes) of its canonical content."""

    name: str
    content_digest: bytes

    def line(self) -> str:
        """The line that names thing and digest.

        Raises:
            BadInput: the name is not lower case letters, digits and ``-``, or the digest is not
                32 bytes.
        """
        line = f"{DOMAIN} {self.name} sha256:{self.content_digest.hex()}"
        if not _LINE.fullmatch(line):
            raise BadInput(
                f"{self.name!r} with a digest of {len(self.content_digest)} bytes has no log form.",
                hint="A name is lower case letters, digits and '-'; a digest has 32 bytes.",
            )
        return line

    def data(self) -> bytes:
        """The event's data: tag, length, and the line.

        Raises:
            BadInput: see :meth:`line`.
        """
        line = self.line().encode()
        return _TAG.pack(_AAEL, len(line)) + line

    def digest(self) -> bytes:
        """SHA-256 of :meth:`data`, 32 bytes: what the register is extended with."""
        return hashlib.sha256(self.data()).digest()


def write(entries: Sequence[LogEntry]) -> bytes:
    """The log of ``entries`` as bytes.

    Raises:
        BadInput: an entry cannot be logged (see :meth:`LogEntry.data`).
    """
    parts = [_HEADER]
    for entry in entries:
        data = entry.data()
        parts.append(
            _EVENT.pack(REGISTER_INDEX, EV_EVENT_TAG, 1, _TPM_ALG_SHA256, entry.digest(), len(data))
        )
        parts.append(data)
    return b"".join([*parts, _END])


def read(log: bytes) -> list[LogEntry]:
    """The entries of ``log``, which must be byte for byte what :func:`write` makes of them.

    Raises:
        AttestationRejected: the log is too long, cut short, holds an event of another kind, a
            digest that is not its data's, or bytes after its end.
    """
    if len(log) > MAX_LOG_BYTES:
        raise _refused(f"it has {len(log)} bytes, more than {MAX_LOG_BYTES}")
    entries: list[LogEntry] = []
    for number, event in enumerate(parse_ccel(log).events):
        line = event.data[_TAG.size :].decode("ascii", "replace")
        match = _LINE.fullmatch(line)
        if match is None:
            raise _refused(f"event {number} is not of the form 'crag <name> sha256:<hex>'")
        if not event.proves_data:
            raise _refused(f"event {number} ({match[1]}) does not have the digest of its data")
        entries.append(LogEntry(match[1], bytes.fromhex(match[2])))
    if write(entries) != log:
        raise _refused("it is not written as crag writes it")
    return entries


def replay(log: bytes) -> bytes:
    """The register (32 bytes) after extending 32 zero bytes with the log's digests in turn.

    Raises:
        AttestationRejected: the log is malformed, or has no SHA-256 digests.
    """
    return parse_ccel(log).replay("SHA-256")[REGISTER_INDEX]


def _refused(why: str) -> AttestationRejected:
    return AttestationRejected(
        f"The event log of the evidence is not usable: {why}.",
        hint="The evidence was changed on its way, or was not made by crag-provider.",
        code="eventlog-invalid",
    )
