"""``audit.jsonl``: which key was released or refused to whom, when, under which policy.

Content-free: names, digests, identifiers and times; never a resource, a token or evidence. Each
line has the SHA-256 of the line before it, so that a line taken out or changed shows.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

from crag_core.trustee.local.folder import Folder

FILE = "audit.jsonl"
# Refusals cost an attacker little; past this size only releases and the admin's acts are written.
REFUSALS_UP_TO = 64 * 1024 * 1024
_WINDOW = 64 * 1024


class Audit:
    """The audit log of one Trustee, shared by all its processes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def record(self, event: str, *, refusal: bool = False, **facts: Any) -> None:
        """Append one event, on disk before this returns.

        Raises:
            OSError: it could not be written; then what it records must not happen.
        """
        path = self._folder.path(FILE)
        with self._folder.writing() as writer:
            size = path.stat().st_size if path.exists() else 0
            if refusal and size > REFUSALS_UP_TO:
                return
            last, torn = self._last(size)
            line = {
                "time": dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds"),
                "event": event,
                **facts,
                "previous": last,
            }
            data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            writer.append(b"\n" + data if torn else data, FILE)

    def _last(self, size: int) -> tuple[str, bool]:
        """SHA-256 of the last line without its end ("" for none), and whether the end is missing.

        A line without its end is what a writer that was killed has left.
        """
        if size == 0:
            return "", False
        window = _WINDOW
        with self._folder.path(FILE).open("rb") as stream:
            while True:
                stream.seek(max(0, size - window))
                before, _, tail = stream.read().removesuffix(b"\n").rpartition(b"\n")
                if before or window >= size:
                    break
                window *= 8  # the admin's acts can be long
            stream.seek(size - 1)
            torn = stream.read(1) != b"\n"
        return hashlib.sha256(tail).hexdigest(), torn
