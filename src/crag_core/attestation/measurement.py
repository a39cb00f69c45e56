"""What the enclave runs, as digests: the measurement that evidence carries and policies pin.

Three events, each a canonical JSON object with a format of its own
(docs/reference/measurement.md): ``software`` (what is installed, see
:mod:`crag_core.attestation.installed`), ``model`` (:func:`model`, the encrypted volume's files) and
``configuration`` (:func:`configuration`). An event's digest is the SHA-256 of its canonical JSON:
the value that a policy compares, and that the event log carries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from crag_core.attestation import eventlog
from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.installed import SOFTWARE_FORMAT, software
from crag_core.errors import BadInput

__all__ = [
    "CONFIGURATION_FORMAT",
    "MODEL_FORMAT",
    "SOFTWARE_FORMAT",
    "Event",
    "Measurement",
    "configuration",
    "model",
    "software",
]

MODEL_FORMAT = "crag/model/v1"
CONFIGURATION_FORMAT = "crag/configuration/v1"


@dataclass(frozen=True)
class Event:
    """One measured thing.

    ``name``: lower case letters, digits, ``-``. ``content``: an object with a canonical JSON form.
    """

    name: str
    content: Mapping[str, Any]

    @property
    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of the canonical JSON of the content.

        Raises:
            BadInput: the content has no canonical JSON form.
        """
        return hashlib.sha256(canonical_json(dict(self.content))).digest()


@dataclass(frozen=True)
class Measurement:
    """The events of one enclave, in the order in which they are measured.

    Raises:
        BadInput: two events have one name.
    """

    events: Sequence[Event]

    def __post_init__(self) -> None:
        names = [event.name for event in self.events]
        if len(set(names)) != len(names):
            raise BadInput("An event is measured twice.", hint="Give each event one name.")

    @cached_property
    def entries(self) -> tuple[eventlog.LogEntry, ...]:
        """The entries of the event log: name and content digest of each event."""
        return tuple(eventlog.LogEntry(event.name, event.digest) for event in self.events)

    def register(self) -> bytes:
        """The measurement register, 32 bytes: the replay of :meth:`eventlog`."""
        return eventlog.replay(self.eventlog())

    def eventlog(self) -> bytes:
        """The event log in CCEL form (:mod:`crag_core.attestation.eventlog`)."""
        return eventlog.write(self.entries)

    def reference_values(self) -> dict[str, list[str]]:
        """What a Trustee must know to accept this: ``{"crag.<name>": [SHA-256 hex]}``."""
        return {f"crag.{entry.name}": [entry.content_digest.hex()] for entry in self.entries}

    def event_reference_values(self) -> dict[str, list[str]]:
        """What a Trustee must know that compares logged digests and not contents.

        Trustee and TNG replay a log without looking whether a digest is that of its event's text,
        so a policy of theirs must compare digests: the SHA-256 (sample evidence) or SHA-384 (TDX)
        of the event's data. ``{"crag.<name>.event": [SHA-256 hex, SHA-384 hex]}``.
        """
        return {
            f"crag.{entry.name}.event": [
                hashlib.sha256(entry.data()).hexdigest(),
                hashlib.sha384(entry.data()).hexdigest(),
            ]
            for entry in self.entries
        }

    def as_json(self) -> dict[str, Any]:
        """``{"register": hex, "events": [{"name", "digest": hex, "content"}]}``."""
        return {
            "register": self.register().hex(),
            "events": [
                {"name": event.name, "digest": entry.content_digest.hex(), "content": event.content}
                for event, entry in zip(self.events, self.entries, strict=True)
            ],
        }


def model(directory: Path) -> dict[str, Any]:
    """The manifest of the encrypted volume in ``directory``: every file as it lies there.

    Returns:
        ``{"format": "crag/model/v1", "files": [{"path", "size", "sha256"}]}``, paths relative with
        ``/``, sorted by their UTF-8 bytes. Nothing is decrypted: what is measured is ciphertext.

    Raises:
        BadInput: the folder is missing or empty, or holds a link or a special file.
    """
    if not directory.is_dir():
        raise BadInput(
            f"The model's folder {directory} does not exist.",
            hint="Make it with 'crag-provider model encrypt'.",
        )
    files = []
    for path in sorted(directory.rglob("*"), key=lambda found: found.as_posix().encode()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput(
                f"{path} is a link or a special file and cannot be measured.",
                hint="A model's volume holds plain files and folders only.",
            )
        if path.is_file():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = stream.tell()
            files.append(
                {"path": path.relative_to(directory).as_posix(), "size": size, "sha256": digest}
            )
    if not files:
        raise BadInput(
            f"The model's folder {directory} is empty.", hint="Name the volume's folder."
        )
    return {"format": MODEL_FORMAT, "files": files}


def configuration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The effective configuration as measured content.

    Args:
        settings: names and values that decide what the enclave does; never a secret, an address or
            a path, which may change without the enclave doing anything else.

    Returns:
        ``{"format": "crag/configuration/v1", "settings": {...}}``.

    Raises:
        BadInput: a value has no canonical JSON form.
    """
    canonical_json(dict(settings))
    return {"format": CONFIGURATION_FORMAT, "settings": dict(settings)}
