"""How far an ingest is, how fast it goes, and how long the rest will take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from crag_core.console import Console
from crag_owner.display import path_name

# The rate of the last minute: files that did not change go by a thousand times as fast.
WINDOW_SECONDS = 60.0
SAMPLE_SECONDS = 1.0
SHOW_SECONDS = 0.1
_MINUTE, _HOUR = 60, 3600


class Progress:
    """Counts files, bytes and chunks; shows them as a line or as events.

    Args:
        files: how many there are.
        size: how many bytes they have together.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        console: Console,
        files: int,
        size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = self.chunks = 0
        self.size = 0.0
        self._of_files, self._of_bytes = files, size
        self._console = console
        self._clock = clock
        self._begun = clock()
        self._shown = float("-inf")
        self._samples: deque[tuple[float, float]] = deque([(self._begun, 0.0)])

    def add(self, *, files: int = 0, size: float = 0.0, chunks: int = 0) -> None:
        """So much more is done; ``chunks`` are those that were embedded."""
        self.files += files
        self.chunks += chunks
        self.size += size
        now = self._clock()
        if now - self._samples[-1][0] >= SAMPLE_SECONDS:
            self._samples.append((now, self.size))
        while len(self._samples) > 1 and now - self._samples[1][0] >= WINDOW_SECONDS:
            self._samples.popleft()

    @property
    def rate(self) -> float:
        """Chunks embedded per second, over the whole run."""
        return self.chunks / max(self._clock() - self._begun, 1e-3)

    @property
    def eta_seconds(self) -> float | None:
        """How long the rest takes at the pace of the last minute; None before there is one."""
        then, size = self._samples[0]
        elapsed, done = self._clock() - then, self.size - size
        if done <= 0 or elapsed <= 0:
            return None
        return max(0.0, self._of_bytes - self.size) * elapsed / done

    def show(self, source: str, within: str = "") -> None:
        """Show the state, at most ten times a second.

        Args:
            source: the file that is worked on.
            within: how far it is in it.
        """
        now = self._clock()
        if now - self._shown < SHOW_SECONDS:
            return
        self._shown = now
        place, eta = f"{self.files}/{self._of_files}", self.eta_seconds
        name = path_name(Path(source))
        left = f"  {duration(eta)} left" if eta is not None else ""
        self._console.progress(f"{place} files  {self.rate:.1f} chunks/s{left}  {name}  {within}")
        self._console.event(
            "progress",
            files=place,
            source=name,
            chunks=self.chunks,
            chunks_per_second=round(self.rate, 2),
            bytes_done=min(round(self.size), self._of_bytes),
            bytes_total=self._of_bytes,
            eta_seconds=None if eta is None else round(eta, 1),
        )


def duration(seconds: float) -> str:
    """``seconds`` for a person: ``12 s``, ``5 min``, ``3 h 20 min``."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    minutes = round(seconds / _MINUTE)
    return f"{minutes // _MINUTE} h {minutes % _MINUTE} min"
