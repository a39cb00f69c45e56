"""Read everything once and compare it with the signed snapshot.

Documents first: their sealed descriptions say which rows there must be and by which digest. Then
every row is opened. What does not fit is collected, and :mod:`.diagnose` says what happened to it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from crag_core.collection.context import Context
from crag_core.collection.diagnose import diagnose
from crag_core.collection.documents import document_digest, document_element, open_document
from crag_core.collection.evidence import Evidence
from crag_core.collection.report import SNAPSHOT, Kind, Verification, Violation
from crag_core.collection.rows import opened, row_digest, row_element
from crag_core.errors import IntegrityViolated
from crag_core.sethash import SetHash
from crag_core.snapshot import Anchor, Snapshot, rollback
from crag_core.store.interface import Reader, Store, StoredDocument, StoredRow, StoredSnapshot

# Rows kept to be looked at more closely; beyond them violations are only counted.
MAX_KEPT = 10_000
Progress = Callable[[int], None]
# Takes a row that is as its document says, its digest, and its opened payload.
Keep = Callable[[StoredRow, bytes, bytes], None]


@dataclass(frozen=True)
class Examined:
    """A verification, and the digest of each row that it found in order."""

    verification: Verification
    known: dict[bytes, bytes] = field(repr=False)


def examine(
    context: Context,
    store: Store,
    anchor: Anchor | None,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> Examined:
    """Verify a collection in one consistent view of the database.

    Args:
        anchor: the newest snapshot seen elsewhere.
        progress: called with the number of rows read so far.
        keep: called with each row that is in order; what it gets counts only if in the end the
            whole verification is.

    Raises:
        Unreachable: the database does not answer.
    """
    floor = context.seen
    run = _Run(context, progress or (lambda _rows: None), keep)
    try:
        with store.reader() as reader:
            run.snapshot(reader.snapshot(context.identity), floor, anchor)
            run.documents(reader)
            run.rows(reader)
    except IntegrityViolated as error:
        # A table that is gone: the reading ends here, and what was found is still reported.
        run.violations.append(Violation("missing", "", _sentence(error.message)))
        return Examined(run.finished(), {})
    run.conclude()
    return Examined(run.finished(), run.evidence.intact)


class _Run:
    def __init__(self, context: Context, progress: Progress, keep: Keep | None) -> None:
        self.context = context
        self.progress = progress
        self.keep = keep
        self.violations: list[Violation] = []
        self.good: Snapshot | None = None
        self.stored: StoredSnapshot | None = None
        self.total: SetHash = context.empty_set()
        self.evidence = Evidence(context)
        self.row_count = 0
        self.document_count = 0
        self.uncounted = 0

    def snapshot(
        self, stored: StoredSnapshot | None, floor: Snapshot | None, anchor: Anchor | None
    ) -> None:
        self.stored = stored
        try:
            self.good = self.context.current(stored, floor)
        except IntegrityViolated as error:
            kind: Kind = error.details.get("violation", "tampered")
            self.violations.append(Violation(kind, SNAPSHOT, _sentence(error.message)))
            return
        reason = rollback(self.good, anchor) if anchor else ""
        if reason:
            self.violations.append(Violation("rolled_back", SNAPSHOT, reason))

    def documents(self, reader: Reader) -> None:
        for batch in reader.documents(self.context.generation):
            self.document_count += len(batch)
            for document in batch:
                digest = document_digest(document)
                self.total.add([document_element(document.id, digest)])
                self._document(document, digest)

    def _document(self, document: StoredDocument, digest: bytes) -> None:
        try:
            info = open_document(self.context, document)
        except IntegrityViolated:
            self.evidence.closed.append(document)
            return
        if info.key in self.evidence.documents:
            self.evidence.repeated.append(document.id)
            return
        self.evidence.expect(info)
        self.evidence.digests[info.key] = digest

    def rows(self, reader: Reader) -> None:
        for batch in reader.rows(self.context.generation):
            self.row_count += len(batch)
            digests = [row_digest(row) for row in batch]
            pairs = zip(batch, digests, strict=True)
            self.total.add(row_element(row.id, digest) for row, digest in pairs)
            for row, digest in zip(batch, digests, strict=True):
                self._row(row, digest)
            self.progress(self.row_count)

    def _row(self, row: StoredRow, digest: bytes) -> None:
        identity = row.id
        expected = self.evidence.expected.get(identity)
        if expected is None:
            kept = self.evidence.strangers
        elif identity in self.evidence.intact:
            self.evidence.repeated.append(identity)
            return
        elif expected.digest == digest and (payload := opened(self.context, row)) is not None:
            self.evidence.intact[identity] = digest
            if self.keep is not None:
                self.keep(row, digest, payload)
            return
        else:
            kept = self.evidence.suspects
        if len(kept) < MAX_KEPT:
            kept.append(row)
        else:
            self.uncounted += 1

    def conclude(self) -> None:
        found = diagnose(self.evidence)
        if self.uncounted:
            found.append(Violation("tampered", "", f"{self.uncounted} further rows do not fit"))
        self.violations += found
        if self.good is not None and self.stored is not None and not found:
            self._compare(self.good, self.stored)

    def _compare(self, good: Snapshot, stored: StoredSnapshot) -> None:
        """Everything fits together; is it also what the snapshot says?"""
        if self.total.digest().hex() == good.root:
            return
        more = self.document_count - good.documents
        rows = self.row_count - good.rows
        if more < 0:
            what = f"{-more} documents with {-rows} rows were dropped"
            self.violations.append(Violation("missing", "", what))
            return
        if more > 0:
            signed = self.context.set_from(stored.state)
            extra = self.evidence.surplus(self.total, signed) if more == 1 else None
            name = extra.id if extra else ""
            what = (
                "this document was deleted, and was put back with its rows"
                if extra
                else f"{more} documents with {rows} rows are there that the snapshot does not have"
            )
            self.violations.append(Violation("added", name, what))
            return
        what = "some documents were put back to an older version, with their rows"
        self.violations.append(Violation("rolled_back", "", what))

    def finished(self) -> Verification:
        return Verification(
            ok=not self.violations,
            rows=self.row_count,
            documents=self.document_count,
            snapshot=self.good,
            violations=self.violations,
        )


def _sentence(message: str) -> str:
    return message[:1].lower() + message[1:].rstrip(".")
