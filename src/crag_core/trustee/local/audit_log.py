"""Reading the audit log: releases and refusals for the admin, and whether its chain holds."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from crag_core.trustee.local.audit import FILE
from crag_core.trustee.local.folder import Folder

MAX_LIMIT = 1000
REQUESTS = frozenset({"released", "refused"})


class AuditLog:
    """The audit log of one Trustee, to be read."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def requests(
        self, *, limit: int, offset: int, filters: Mapping[str, str]
    ) -> tuple[list[dict[str, Any]], int]:
        """Requests for resources, newest first, and how many there are in all.

        Args:
            limit: at most so many, 1 to 1000.
            filters: ``repository``, ``type``, ``tag``: exact; ``successful``: ``true`` or
                ``false``; ``start_time``, ``end_time``: RFC 3339 in UTC, compared as text.
        """
        total = 0
        kept: deque[dict[str, Any]] = deque(maxlen=limit + offset)
        for line, event in self._events():
            if event.get("event") in REQUESTS and _matches(event, filters):
                total += 1
                kept.append({**event, "line": line})
        newest = list(reversed(kept))
        return newest[offset : offset + limit], total

    def broken_at(self) -> int | None:
        """The first line (from 1) that doesn't follow from the one before it; None if all do."""
        previous = ""
        for number, (raw, event) in enumerate(self._lines(), start=1):
            if event is not None and event.get("previous") != previous:
                return number
            previous = hashlib.sha256(raw).hexdigest()
        return None

    def _events(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, (_raw, event) in enumerate(self._lines(), start=1):
            if event is not None:
                yield number, event

    def _lines(self) -> Iterator[tuple[bytes, dict[str, Any] | None]]:
        """Each line and what it says; None for what a killed writer left."""
        path = self._folder.path(FILE)
        if not path.exists():
            return
        with path.open("rb") as stream:
            for raw in stream:
                try:
                    event = json.loads(raw)
                except ValueError:
                    event = None
                yield raw.removesuffix(b"\n"), event if isinstance(event, dict) else None


def _matches(event: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    parts = str(event.get("resource", "")).split("/")
    found = dict(zip(("repository", "type", "tag"), parts, strict=False))
    if any(name in filters and filters[name] != value for name, value in found.items()):
        return False
    wanted = filters.get("successful")
    if wanted is not None and (event.get("event") == "released") != (wanted == "true"):
        return False
    time = str(event.get("time", ""))
    return filters.get("start_time", "") <= time <= filters.get("end_time", "~")
