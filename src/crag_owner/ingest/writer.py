"""The thread that commits, while the next documents are parsed and embedded."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crag_core.collection import DocumentDraft, LabelDraft, PutResult

Draft = DocumentDraft | LabelDraft

# How long an interrupted run waits for the transaction under way before it leaves it to its fate.
GRACE_SECONDS = 5.0


@dataclass(frozen=True)
class Committed:
    """A batch that is in the database."""

    results: Sequence[PutResult]
    chunks: int


@dataclass(frozen=True)
class Failed:
    """A thread's error, which ends the run."""

    error: BaseException = field(repr=False)


class Writer:
    """Commits one batch at a time; used by one thread.

    Args:
        commit: puts a batch into the database, each document in one transaction.
        tell: called in the writer's thread with what became of each batch. After an error nothing
            is committed any more.
    """

    def __init__(
        self,
        commit: Callable[[Sequence[Draft]], Sequence[PutResult]],
        tell: Callable[[Committed | Failed], None],
    ) -> None:
        self.busy = False
        self._commit = commit
        self._tell = tell
        self._batches: queue.SimpleQueue[tuple[Sequence[Draft], int] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, batch: Sequence[Draft], chunks: int) -> None:
        """Have a batch of so many chunks committed; the one before must be done."""
        if self.busy:
            raise RuntimeError("one batch at a time")
        if self._thread is None:
            # A daemon: a database that does not answer must not keep an interrupted program alive.
            self._thread = threading.Thread(target=self._run, name="crag-writer", daemon=True)
            self._thread.start()
        self.busy = True
        self._batches.put((batch, chunks))

    def close(self) -> bool:
        """End the thread after the batch under way, waiting five seconds at most; whether it ended.

        A transaction that is not done by then is rolled back by the server when this program ends.
        """
        if self._thread is None:
            return True
        self._batches.put(None)
        self._thread.join(GRACE_SECONDS)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (found := self._batches.get()) is not None:
            batch, chunks = found
            try:
                results = self._commit(batch)
            except BaseException as error:  # noqa: BLE001 - it is raised again where the run is
                self._tell(Failed(error))
                return
            # Not held until the next batch comes.
            del batch, found
            self._tell(Committed(results, chunks))
