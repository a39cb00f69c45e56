"""What a person or a program reads: data on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console as RichConsole


@dataclass
class Console:
    """Output of one command.

    ``json``: one object on stdout. ``events``: JSON lines of progress on stderr. ``quiet``: no
    progress, no notes (warnings stay). ``verbose``: count of ``-v``. ``color``: auto, always or
    never.
    """

    json: bool = False
    events: bool = False
    quiet: bool = False
    verbose: int = 0
    color: str = "auto"
    program: str = "crag"
    _rich: RichConsole | None = field(default=None, repr=False)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def result(self, data: dict[str, Any], human: Callable[[], None] | str | None = None) -> None:
        """Print the command's result: ``data`` with ``--json``, otherwise ``human``."""
        if self.json:
            sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
            sys.stdout.flush()
        elif callable(human):
            human()
        elif human is not None:
            self.line(human)

    def line(self, text: str = "") -> None:
        """One line of data on stdout."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def note(self, text: str) -> None:
        """A hint or a step on stderr; silent with ``--quiet``."""
        if not self.quiet and not self.events:
            self._error_line(text)

    def detail(self, text: str) -> None:
        """A note that only ``-v`` shows."""
        if self.verbose:
            self.note(text)

    def warn(self, text: str) -> None:
        """A warning on stderr; never silent."""
        if self.events:
            self.event("warning", message=text)
        else:
            self._error_line(f"warning: {text}", style="yellow")

    def event(self, name: str, **fields: Any) -> None:
        """One JSON line on stderr where ``--events`` asks for them; from any thread."""
        if self.events:
            line = json.dumps({"event": name, **fields}, ensure_ascii=False) + "\n"
            with self._guard:
                sys.stderr.write(line)
                sys.stderr.flush()

    def progress(self, text: str) -> None:
        """A transient line: rewritten on a terminal, absent elsewhere."""
        if not self.quiet and not self.events and sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[2K{text}")
            sys.stderr.flush()

    def progress_end(self) -> None:
        """Clear the transient line."""
        self.progress("")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table on stdout."""
        from rich.table import Table

        table = Table(*columns, box=None, pad_edge=False, header_style="bold")
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self.stdout().print(table)

    def stdout(self) -> RichConsole:
        """The rich console of stdout, for results that need layout."""
        if self._rich is None:
            from rich.console import Console as Rich

            self._rich = Rich(
                file=sys.stdout,
                force_terminal=True if self.color == "always" else None,
                no_color=True if not self.colored(sys.stdout.isatty()) else None,
                highlight=False,
                soft_wrap=True,
                markup=False,
            )
        return self._rich

    def colored(self, terminal: bool) -> bool:
        """Whether to colour a stream; with auto, only a terminal and only without ``NO_COLOR``."""
        if self.color != "auto":
            return self.color == "always"
        return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def _error_line(self, text: str, style: str = "") -> None:
        codes = {"yellow": "33", "red": "31"}
        if style and self.colored(sys.stderr.isatty()):
            text = f"\x1b[{codes[style]}m{text}\x1b[0m"
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
