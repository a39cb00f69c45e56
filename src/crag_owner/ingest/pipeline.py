"""The way of one file into the collection, and the batches in which files are committed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crag_core.collection import ChunkDraft, Collection, DocumentDraft, DocumentInfo
from crag_core.console import Console
from crag_core.keys import lp
from crag_owner.chunking import Chunk, split
from crag_owner.display import path_name
from crag_owner.files import Candidate, Limits, read
from crag_owner.ingest.expiry import Expiry
from crag_owner.ingest.labels_file import Labels
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.target import Target
from crag_owner.parsing import Parser, Unreadable, parser_for
from crag_owner.parsing.sandbox import ParsingSandbox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# So few that Ctrl-C is heard within seconds: the engine is not interrupted inside a call.
EMBED_AT_ONCE = 16
BATCH_CHUNKS = 128
BATCH_SECONDS = 10.0
SAMPLE_VECTORS = 4096
FINGERPRINT = b"crag/ingest/v1"


@dataclass(frozen=True)
class Admitted:
    """A file that is new or changed, read, with the parser for its format.

    ``expires`` is seconds since 1970 UTC, or None.
    """

    candidate: Candidate
    parser: Parser
    data: bytes = field(repr=False)
    expires: int | None = None


@dataclass
class Pipeline:
    """Takes files one by one; what is complete is committed, so that a rerun goes on from there.

    Args:
        target: where they go.
        sandbox: parses them.
        report: counts what happens.
        labels: attached to the documents of this run.
        expiry: when they expire.
        dry_run: stop before embedding and writing.

    ``sample`` holds the first 4096 plaintext vectors of the run, to judge the factors by.
    """

    target: Target
    sandbox: ParsingSandbox
    report: IngestReport
    console: Console
    labels: Labels = field(default_factory=Labels)
    expiry: Expiry = field(default_factory=Expiry)
    limits: Limits = field(default_factory=Limits)
    dry_run: bool = False

    def __post_init__(self) -> None:
        self._pending: list[DocumentDraft] = []
        self._since = self._begun = time.monotonic()
        self._embedded = 0
        self._seen: dict[str, Candidate] = {}
        self.sample: list[NDArray[np.float32]] = []

    @property
    def sources(self) -> frozenset[str]:
        """Sources of all files taken, readable or not."""
        return frozenset(self._seen)

    def run(self, candidates: Sequence[Candidate]) -> None:
        """Take all files; those that cannot be read are reported and left out."""
        for number, candidate in enumerate(candidates, 1):
            place = f"{number}/{len(candidates)}"
            self._show(place, candidate)
            try:
                self._take(candidate, place)
            except Unreadable as refused:
                self._fail(candidate, refused)
            self._flush_if_due()
        self.flush()
        self.console.progress_end()

    def _fail(self, candidate: Candidate, refused: Unreadable) -> None:
        shown = path_name(candidate.path)
        self.report.fail(shown, refused.reason)
        self.console.progress_end()
        self.console.warn(f"{shown} was skipped: it {refused.reason}.")

    def _flush_if_due(self) -> None:
        due = time.monotonic() - self._since > BATCH_SECONDS
        if due or sum(len(draft.chunks) for draft in self._pending) >= BATCH_CHUNKS:
            self.flush()

    def flush(self) -> None:
        """Commit what is complete in one transaction."""
        self._since = time.monotonic()
        if not self._pending:
            return
        batch, self._pending = self._pending, []
        vectors = [chunk.vector for draft in batch for chunk in draft.chunks]
        self.sample += vectors[: SAMPLE_VECTORS - len(self.sample)]
        collection = self.target.require()
        for result in collection.put_documents(batch):
            self.report.documents[result.status] += 1
            if result.status != "unchanged":
                self.report.written += result.rows
            self.console.event("document", source=result.source, status=result.status)
        self.target.anchors.save(collection)

    def _take(self, candidate: Candidate, place: str) -> None:
        admitted = self._admit(candidate)
        if admitted is None:
            return
        chunks = self._chunks(admitted.parser, admitted.data)
        if self.dry_run:
            known = self.target.collection
            found = known.find(candidate.source) if known is not None else None
            self.report.documents["added" if found is None else "updated"] += 1
            self.report.chunks += len(chunks)
            return
        self.target.require()
        self._keep(admitted, chunks, self._embed(chunks, place, candidate))

    def _admit(self, candidate: Candidate) -> Admitted | None:
        """The file's bytes, or None where it was taken before or did not change.

        Raises:
            Unreadable: it cannot go in.
        """
        other = self._seen.setdefault(candidate.source, candidate)
        if other.path != candidate.path:
            raise Unreadable(
                f"has the name of {path_name(other.path)} in the collection; give --base FOLDER"
            )
        if other is not candidate:
            return None
        parser = parser_for(candidate.path)
        if parser is None and not candidate.path.is_dir() and candidate.path.exists():
            raise Unreadable(
                f"has a format that is not read ({candidate.path.suffix or 'no ending'})"
            )
        data = read(candidate, self.limits)
        if parser is None:
            raise Unreadable("is no regular file")
        known = self.target.collection
        found = known.find(candidate.source) if known is not None else None
        if known and found and self._unchanged(known, found, candidate, parser, data):
            return None
        expires = self.expiry.of(found, int(time.time()), changed=True)
        return Admitted(candidate, parser, data, expires)

    def _keep(
        self, admitted: Admitted, chunks: Sequence[Chunk], vectors: Iterable[NDArray[np.float32]]
    ) -> None:
        """Have a document committed with the next batch."""
        collection = self.target.require()
        self.report.chunks += len(chunks)
        self._pending.append(
            DocumentDraft(
                source=admitted.candidate.source,
                content_tag=self._tag(collection, admitted.parser, admitted.data),
                chunks=list(map(_draft, chunks, vectors)),
                labels=self.labels.of(admitted.candidate.source),
                expires=admitted.expires,
            )
        )

    def _unchanged(
        self,
        collection: Collection,
        found: DocumentInfo,
        candidate: Candidate,
        parser: Parser,
        data: bytes,
    ) -> bool:
        if found.expired():
            self.console.progress_end()
            shown = path_name(candidate.path)
            self.console.warn(
                f"{shown} had expired; the file is still there and is taken in again."
            )
            return False
        same = (
            found.content_tag == self._tag(collection, parser, data)
            and dict(found.labels) == self.labels.of(candidate.source)
            and found.expires == self.expiry.of(found, int(time.time()), changed=False)
        )
        if same:
            self.report.documents["unchanged"] += 1
            self.report.chunks += found.chunks
            self.console.event("document", source=candidate.source, status="unchanged")
        return same

    def _tag(self, collection: Collection, parser: Parser, data: bytes) -> bytes:
        """Changes with the file's bytes and with anything that would cut it otherwise."""
        ways = (FINGERPRINT, parser.name.encode(), self.target.policy.identity.encode())
        digest = hashlib.sha256(data).digest()
        return collection.content_tag(b"".join(lp(part) for part in (*ways, digest)))

    def _chunks(self, parser: Parser, data: bytes) -> list[Chunk]:
        parsed = self.sandbox.parse(parser, data)
        chunks = list(split(parsed.sections, self.target.policy, self.target.embedder.count_tokens))
        if not chunks:
            raise Unreadable("holds no letter or digit")
        return chunks

    def _embed(
        self, chunks: Sequence[Chunk], place: str, candidate: Candidate
    ) -> list[NDArray[np.float32]]:
        vectors: list[NDArray[np.float32]] = []
        for batch in _batches(chunks, EMBED_AT_ONCE):
            self._show(place, candidate, f"{len(vectors)}/{len(chunks)} chunks")
            vectors.extend(self.target.embedder.passages([chunk.embedded for chunk in batch]))
            self._embedded += len(batch)
        return vectors

    def _show(self, place: str, candidate: Candidate, within: str = "") -> None:
        elapsed = max(time.monotonic() - self._begun, 1e-3)
        rate = self._embedded / elapsed
        source = path_name(Path(candidate.source))
        self.console.progress(f"{place} files  {rate:.1f} chunks/s  {source}  {within}")
        self.console.event(
            "progress",
            files=place,
            source=source,
            chunks=self._embedded,
            chunks_per_second=round(rate, 2),
        )


def _draft(chunk: Chunk, vector: NDArray[np.float32]) -> ChunkDraft:
    return ChunkDraft(text=chunk.text, vector=vector, page=chunk.page, heading=chunk.heading)


def _batches(items: Sequence[Chunk], size: int) -> Iterator[Sequence[Chunk]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def vanished(collection: Collection, prefixes: Iterable[str], kept: frozenset[str]) -> list[str]:
    """Ids of the documents whose source is below one of ``prefixes`` but not in ``kept``."""
    below = tuple(f"{prefix}/" if prefix else "" for prefix in prefixes)
    return [
        document.id
        for document in collection.documents()
        if document.source.startswith(below) and document.source not in kept
    ]
