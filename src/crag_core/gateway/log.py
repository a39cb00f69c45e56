"""What TNG says on its output, kept only where it cannot hold anything of a request."""

from __future__ import annotations

import json
import re
from collections import deque

from crag_core.gateway.reasons import printable

_PANIC = re.compile(r"thread '.*' panicked at (?P<place>\S+:\d+:\d+)")


class StartupLog:
    """Collects TNG's errors until :meth:`close`; afterwards every line is dropped.

    Once requests flow, log lines name their addresses and paths, so none is kept then but the place
    of a panic.
    """

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=8)
        self._open = True
        self.panic = ""

    def close(self) -> None:
        """Requests may flow from now on: keep nothing more."""
        self._open = False

    def feed(self, line: bytes) -> None:
        """Take one line of output."""
        text = line.decode("utf-8", "replace")
        panicked = _PANIC.search(text)
        if panicked is not None:
            self.panic = panicked["place"]
        elif self._open:
            error = error_of(text)
            if error:
                self._errors.append(error)

    def reason(self) -> str:
        """The last error of the start on one line, root cause last; empty if there was none."""
        return printable(self._errors[-1], 500) if self._errors else ""


def error_of(line: str) -> str:
    """The error that a JSON line of level ERROR carries, with its causes; else an empty string."""
    try:
        record = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(record, dict) or record.get("level") != "ERROR":
        return ""
    fields = record.get("fields")
    if not isinstance(fields, dict):
        return ""
    return str(fields.get("error") or fields.get("message") or "")
