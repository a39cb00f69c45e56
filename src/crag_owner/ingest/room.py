"""How much may be between the parsers and the database: what bounds the memory of an ingest."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """The run ends; what a thread was about is dropped."""


class Room:
    """Chunks that are parsed but not committed yet, counted; thread-safe.

    A document is one transaction and is therefore held whole, however long it is. So the room is
    checked before a file is read, and the count may exceed it by the files that were being read
    then: one for each thread.

    Args:
        chunks: while so many are held, no further file is begun.
    """

    def __init__(self, chunks: int) -> None:
        self.chunks = chunks
        self.held = 0
        self.most = 0
        self.waiting = 0
        self._stopped = False
        self._changed = threading.Condition()

    def enter(self) -> None:
        """Wait until there is room for a file.

        Raises:
            Stopped: the run ends.
        """
        with self._changed:
            self.waiting += 1
            try:
                self._changed.wait_for(lambda: self._stopped or self.held < self.chunks)
            finally:
                self.waiting -= 1
        self.check()

    def take(self, chunks: int) -> None:
        """A file has become so many chunks."""
        with self._changed:
            self.held += chunks
            self.most = max(self.most, self.held)

    def give(self, chunks: int) -> None:
        """So many chunks are committed, or dropped."""
        with self._changed:
            self.held -= chunks
            self._changed.notify_all()

    def stop(self) -> None:
        """Have every thread end at its next :meth:`enter` or :meth:`check`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise Stopped if the run ends."""
        if self._stopped:
            raise Stopped
