"""crag's measured events in a TD's RTMR3: which of them a register or a log holds.

A register cannot be turned back, and the verifiers refuse a log that has an event of crag's twice.
So each event is extended once a boot, always in the same order, and what is there already is told
from the register itself: its value is that of the events before ours and of the first 0, 1, 2 ...
of ours, or it is something that nobody can explain. No record of our own has to be kept, or to be
believed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from crag_core.attestation.aael import ZERO_INIT, Aael
from crag_core.attestation.eventlog import DOMAIN, LogEntry
from crag_core.attestation.measurement import Measurement
from crag_core.errors import AttestationRejected


@dataclass(frozen=True)
class OwnEvents:
    """The events of one measurement in the order in which they are extended.

    ``text``: they are logged as text, as agents up to Trustee 1.5 do it; the first thing that is
    extended is then the log's own first line.
    """

    entries: Sequence[LogEntry]
    text: bool = False

    @classmethod
    def of(cls, measurement: Measurement, *, text: bool = False) -> OwnEvents:
        """The events of ``measurement``."""
        return cls(measurement.entries, text)

    @property
    def digests(self) -> tuple[bytes, ...]:
        """What RTMR3 is extended with: SHA-384 (48 bytes) of each event's data, or of each line."""
        if self.text:
            lines = [ZERO_INIT, *(entry.line().encode() for entry in self.entries)]
            return tuple(hashlib.sha384(line).digest() for line in lines)
        return tuple(hashlib.sha384(entry.data()).digest() for entry in self.entries)

    def register(self, count: int, before: Sequence[bytes] = ()) -> bytes:
        """RTMR3 (48 bytes) after the digests ``before`` and the first ``count`` of ours."""
        value = bytes(48)
        for digest in (*before, *self.digests[:count]):
            value = hashlib.sha384(value + digest).digest()
        return value

    def held_by_register(self, register: bytes, before: Sequence[bytes] = ()) -> int:
        """How many of our digests RTMR3 holds, after the digests ``before``.

        Raises:
            AttestationRejected: it holds something else.
        """
        for count in range(len(self.digests) + 1):
            if self.register(count, before) == register:
                return count
        raise _foreign("RTMR3 of this TD holds something that is not in its event log.")

    def held_by_log(self, events: Sequence[Aael]) -> int:
        """How many of the events an agent's log holds; events of other domains don't count.

        Raises:
            AttestationRejected: its events of crag's are not the first ones of ours.
        """
        found = [(event.operation, event.content) for event in events if event.domain == DOMAIN]
        ours = [(entry.name, f"sha256:{entry.content_digest.hex()}") for entry in self.entries]
        if found != ours[: len(found)]:
            raise _foreign("The event log of this TD has measured another crag-provider.")
        return len(found)


def _foreign(what: str) -> AttestationRejected:
    return AttestationRejected(
        f"{what} A runtime register cannot be turned back.",
        hint="Software, model or configuration changed since this machine was started, or another "
        "program measures: start the confidential machine anew. Where an attestation agent "
        "measures, use --evidence agent.",
        code="register-foreign",
    )
