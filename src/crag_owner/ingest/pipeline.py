"""Files into the collection: parsing, embedding and writing at the same time.

Threads parse and cut files, in any order; the caller's thread embeds what they finished, in batches
across documents, and is the one that Ctrl-C interrupts; one thread commits what is complete. What
is between parsing and committing is bounded by chunks (see room.py), so that memory does not follow
the corpus. The order in which documents are committed is no part of the result.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Collection as Sized
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from crag_core.collection import (
    ChunkDraft,
    DocumentDraft,
    LabelDraft,
    PutResult,
)
from crag_core.console import Console
from crag_owner.chunking import Chunk
from crag_owner.display import path_name
from crag_owner.files import Corpus, Limits
from crag_owner.ingest.admission import Admission, Admitted, Task
from crag_owner.ingest.expiry import Expiry
from crag_owner.ingest.labels_file import Labels
from crag_owner.ingest.preparing import Preparation, Prepared
from crag_owner.ingest.progress import Progress
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.room import Room
from crag_owner.ingest.target import Target
from crag_owner.ingest.writer import Committed, Draft, Failed, Writer
from crag_owner.parsing import Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A transaction has at least so many chunks, or what is complete after ten seconds, so that a rerun
# repeats little; more where the database is slower than the embedder.
BATCH_CHUNKS = 128
BATCH_SECONDS = 10.0
# Some 20 MB of texts and vectors: enough that neither parser nor database ever waits for a batch.
ROOM_CHUNKS = 2048
SAMPLE_VECTORS = 4096


@dataclass(frozen=True)
class _Outcome:
    """What a thread made of a file: refused, unchanged, other labels, or chunks."""

    task: Task
    refused: Unreadable | None = None
    admitted: Admitted | None = None
    prepared: Prepared | None = None

    @property
    def chunks(self) -> int:
        """How many are to be written."""
        if self.prepared is not None:
            return len(self.prepared.chunks)
        relabel = self.admitted is not None and self.admitted.relabel
        return self.task.known.chunks if relabel and self.task.known is not None else 0


@dataclass
class _Open:
    """A document whose chunks are being embedded: those left, and those done."""

    task: Task
    admitted: Admitted
    left: deque[Chunk]
    total: int
    done: list[ChunkDraft] = field(default_factory=list)


@dataclass
class Pipeline:
    """Takes files; what is complete is committed, so that a rerun goes on from there.

    Args:
        target: where they go.
        preparation: parses and cuts them.
        report: counts what happens.
        labels: attached to the documents of this run.
        expiry: when they expire.
        dry_run: stop before embedding and writing.
        room_chunks: how many chunks may be parsed and not committed yet before no further file is
            begun.

    ``sample`` holds the first 4096 plaintext vectors of the run, to judge the factors by.
    """

    target: Target
    preparation: Preparation
    report: IngestReport
    console: Console
    labels: Labels = field(default_factory=Labels)
    expiry: Expiry = field(default_factory=Expiry)
    limits: Limits = field(default_factory=Limits)
    dry_run: bool = False
    room_chunks: int = ROOM_CHUNKS

    def __post_init__(self) -> None:
        self.admission = Admission(self.target, self.labels, self.expiry, self.limits)
        self.room = Room(self.room_chunks)
        self.sample: list[NDArray[np.float32]] = []
        self._mail: queue.SimpleQueue[_Outcome | Committed | Failed] = queue.SimpleQueue()
        self._writer = Writer(self._commit, self._mail.put)
        self._under_way = 0
        self._open: deque[_Open] = deque()
        self._to_embed = 0
        self._pending: list[Draft] = []
        self._pending_chunks = 0
        self._since = time.monotonic()
        self._relabelled: dict[str, Task] = {}
        self._again: deque[Task] = deque()

    @property
    def sources(self) -> Sized[str]:
        """Sources of all files taken, readable or not."""
        return self.admission.sources

    def vanished(self, prefixes: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Id and source of the documents below ``prefixes`` whose file is gone.

        Nothing is known of files below a folder that could not be entered: they are not gone.
        """
        collection = self.target.collection
        if collection is None:
            return
        below = tuple(prefixes)
        unseen = tuple(f"{folder}/" for folder in self.admission.unseen)
        for document in collection.documents():
            source = document.source
            if (
                source.startswith(below)
                and source not in self.admission.sources
                and not source.startswith(unseen)
            ):
                yield document.id, source

    def run(self, corpus: Corpus) -> None:
        """Take all files; those that cannot be read are reported and left out.

        Raises:
            CragError: the first error of any thread that is not one file's own; nothing is
                committed after it but a transaction that was under way.
        """
        self._progress = Progress(self.console, corpus.files, corpus.size)
        threads = ThreadPoolExecutor(self.preparation.threads, "crag-parse")
        try:
            self._drive(self.admission.tasks(corpus), threads)
        except BaseException:
            self.room.stop()
            self.preparation.stop()
            raise
        finally:
            threads.shutdown(cancel_futures=True)
            self._writer.close()
            self.preparation.close()
            self.console.progress_end()

    def _drive(self, tasks: Iterator[Task], threads: ThreadPoolExecutor) -> None:
        more = True
        while True:
            while more and self._under_way < self.preparation.ahead:
                task = self._again.popleft() if self._again else next(tasks, None)
                more = task is not None
                if task is not None:
                    self._begin(task, threads)
            last = not more and not self._under_way and not self._to_embed
            self._read_mail()
            more = more or bool(self._again)
            self._commit_if_due(last)
            if self._to_embed:
                # A part of a batch only where nothing else is ready: the embedder is never idle.
                if self._to_embed >= self.target.passages_at_once or self._mail.empty():
                    self._embed()
            elif last and not more and not self._pending and not self._writer.busy:
                return
            elif self._under_way or self._writer.busy:
                self._read_mail(wait=True)

    def _begin(self, task: Task, threads: ThreadPoolExecutor) -> None:
        if task.repeated:
            self._progress.add(files=1, size=task.candidate.size)
            return
        self._under_way += 1
        threads.submit(self._work, task)

    def _work(self, task: Task) -> None:
        """One file, in a thread."""
        try:
            self.room.enter()
            outcome = self._outcome(task)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the run is
            self._mail.put(Failed(error))
            return
        self.room.take(outcome.chunks)
        self._mail.put(outcome)

    def _outcome(self, task: Task) -> _Outcome:
        admitted = None
        try:
            admitted = self.admission.admit(task)
            if admitted.unchanged or admitted.relabel:
                return _Outcome(task, admitted=admitted)
            suffix = task.candidate.path.suffix
            prepared = self.preparation.prepare(
                admitted.parser, suffix, admitted.data, self.room.check
            )
        except Unreadable as refused:
            return _Outcome(task, refused, admitted)
        return _Outcome(task, admitted=admitted.without_data(), prepared=prepared)

    def _read_mail(self, *, wait: bool = False) -> None:
        """Take what the threads have to say; ``wait`` for the first of it while nothing is due."""
        while True:
            try:
                mail = self._mail.get(timeout=self._due_in() if wait else 0)
            except queue.Empty:
                return
            wait = False
            if isinstance(mail, Failed):
                raise mail.error
            if isinstance(mail, Committed):
                self._count(mail)
            else:
                self._under_way -= 1
                self._take(mail)

    def _due_in(self) -> float:
        return max(0.0, self._since + BATCH_SECONDS - time.monotonic()) + 0.01

    def _take(self, outcome: _Outcome) -> None:
        task, admitted, prepared = outcome.task, outcome.admitted, outcome.prepared
        candidate = task.candidate
        if admitted is not None and admitted.revived:
            self.console.progress_end()
            shown = path_name(candidate.path)
            self.console.warn(
                f"{shown} had expired; the file is still there and is taken in again."
            )
        if prepared is not None and prepared.missing:
            shown = path_name(candidate.path)
            self.report.lack(shown, prepared.missing, task.number)
            self.console.progress_end()
            self.console.warn(f"of {shown} a part is missing: {prepared.missing}.")
        if prepared is None or admitted is None or self.dry_run:
            if admitted is not None and admitted.relabel and not self.dry_run:
                self._relabel(task, admitted, outcome.chunks)
            else:
                self._settle(outcome)
            self._progress.add(files=1, size=candidate.size)
            self._progress.show(candidate.source)
            return
        self.target.require()
        chunks = prepared.chunks
        opened = _Open(task, admitted, deque(chunks), len(chunks))
        if prepared.vectors is None:
            self._to_embed += len(chunks)
            self._open.append(opened)
        else:
            self._embedded(opened, prepared.vectors)

    def _settle(self, outcome: _Outcome) -> None:
        """Count a file that is not written: refused, unchanged, or in a dry run."""
        task = outcome.task
        if outcome.refused is not None:
            shown = path_name(task.candidate.path)
            self.report.fail(shown, outcome.refused.reason, task.number)
            self.console.progress_end()
            self.console.warn(f"{shown} was skipped: it {outcome.refused.reason}.")
        elif outcome.chunks:
            self.report.documents["added" if task.known is None else "updated"] += 1
            self.report.chunks += outcome.chunks
            self.room.give(outcome.chunks)
        elif task.known is not None:
            self.report.documents["unchanged"] += 1
            self.report.chunks += task.known.chunks
            self.console.event("document", source=task.candidate.source, status="unchanged")

    def _relabel(self, task: Task, admitted: Admitted, chunks: int) -> None:
        """Have a document's labels and date committed; its content stays as it is."""
        source = task.candidate.source
        self.report.chunks += chunks
        self._relabelled[source] = task
        self._pending.append(
            LabelDraft(
                source,
                self.admission.tag(self.target.require(), admitted.parser, admitted.digest),
                self.labels.of(source),
                admitted.expires,
            )
        )
        self._pending_chunks += chunks

    def _embed(self) -> None:
        """Embed one batch: the next chunks, of as many documents as it takes."""
        batch: list[tuple[_Open, int]] = []
        texts: list[str] = []
        wanted = self.target.passages_at_once
        for opened in self._open:
            count = min(len(opened.left), wanted - len(texts))
            texts += [opened.left[at].embedded for at in range(count)]
            batch.append((opened, count))
            if len(texts) == wanted:
                break
        first = batch[0][0]
        self._progress.show(first.task.candidate.source, f"{len(first.done)}/{first.total} chunks")
        vectors = self.target.embedder.passages(texts)
        self._to_embed -= len(texts)
        start = 0
        for opened, count in batch:
            self._embedded(opened, vectors[start : start + count])
            start += count
        while self._open and not self._open[0].left:
            self._open.popleft()

    def _embedded(self, opened: _Open, vectors: Iterable[NDArray[np.float32]]) -> None:
        """Take vectors of the next chunks of a document; it is complete with the last of them."""
        before = len(opened.done)
        opened.done += [_draft(opened.left.popleft(), vector) for vector in vectors]
        count = len(opened.done) - before
        candidate = opened.task.candidate
        self._progress.add(chunks=count, size=candidate.size * count / opened.total)
        if opened.left:
            return
        self._progress.add(files=1)
        self._progress.show(candidate.source)
        self.report.chunks += opened.total
        collection = self.target.require()
        self._pending.append(
            DocumentDraft(
                source=candidate.source,
                content_tag=self.admission.tag(
                    collection, opened.admitted.parser, opened.admitted.digest
                ),
                chunks=opened.done,
                labels=self.labels.of(candidate.source),
                expires=opened.admitted.expires,
            )
        )
        self._pending_chunks += opened.total

    def _commit_if_due(self, last: bool) -> None:
        """Hand what is complete to the writer, if it has nothing to do."""
        if self._writer.busy:
            return
        # Less room than a batch would have every parser wait for a commit that waits for them.
        due = last or self._pending_chunks >= min(BATCH_CHUNKS, self.room.chunks)
        if not due and time.monotonic() - self._since <= BATCH_SECONDS:
            return
        self._since = time.monotonic()
        if not self._pending:
            return
        batch, chunks = self._pending, self._pending_chunks
        self._pending, self._pending_chunks = [], 0
        for draft in batch:
            free = SAMPLE_VECTORS - len(self.sample)
            if free > 0 and isinstance(draft, DocumentDraft):
                self.sample += [chunk.vector for chunk in draft.chunks[:free]]
        self._writer.put(batch, chunks)

    def _commit(self, batch: Sequence[Draft]) -> Sequence[PutResult]:
        """A transaction for what has content and one for other labels, in the writer's thread."""
        collection = self.target.require()
        whole = [draft for draft in batch if isinstance(draft, DocumentDraft)]
        labels = [draft for draft in batch if isinstance(draft, LabelDraft)]
        results = collection.put_documents(whole) if whole else []
        results = results + (collection.relabel(labels) if labels else [])
        for result in results:
            if result.status != "stale":
                self.console.event("document", source=result.source, status=result.status)
        self.target.anchors.save(collection)
        return results

    def _count(self, committed: Committed) -> None:
        self._writer.busy = False
        self.room.give(committed.chunks)
        for result in committed.results:
            task = self._relabelled.pop(result.source, None)
            if result.status == "stale":
                if task is not None and task.known is not None:
                    # Somebody else replaced or removed it since it was looked up.
                    self.report.chunks -= task.known.chunks
                    self._again.append(replace(task, known=None))
                continue
            self.report.documents[result.status] += 1
            if result.status != "unchanged":
                self.report.written += result.rows


def _draft(chunk: Chunk, vector: NDArray[np.float32]) -> ChunkDraft:
    return ChunkDraft(text=chunk.text, vector=vector, page=chunk.page, heading=chunk.heading)
