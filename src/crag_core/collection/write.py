"""Change a collection: one transaction, one new snapshot, all or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from crag_core import snapshot as snapshots
from crag_core.collection.batch import Batch, NewDocument
from crag_core.collection.context import Context
from crag_core.collection.documents import (
    DocumentInfo,
    document_digest,
    document_element,
    open_document,
    seal_document,
)
from crag_core.collection.drafts import DocumentDraft, PutResult
from crag_core.collection.following import refuse_while_rotating
from crag_core.collection.rows import row_digest, row_element, row_elements, row_name
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.sethash import SetHash
from crag_core.snapshot import Snapshot
from crag_core.store.interface import Store, StoredDocument, StoredRow, StoredSnapshot, Writer
from crag_core.store.new_rows import NewRows

_ID = attrgetter("id")


@dataclass
class Changes:
    """What one transaction takes out and puts in; ``checked`` once what it takes out was read."""

    old_documents: list[StoredDocument] = field(default_factory=list)
    old_members: list[tuple[bytes, bytes]] = field(default_factory=list)
    new_documents: list[StoredDocument] = field(default_factory=list)
    new_rows: list[StoredRow] = field(default_factory=list)
    new_members: list[tuple[bytes, bytes]] = field(default_factory=list)
    checked: bool = False

    def add(self, document: StoredDocument, members: list[tuple[bytes, bytes]]) -> None:
        """Put a document in, with the id and digest of each of its rows."""
        self.new_documents.append(document)
        self.new_members.extend(members)

    def rows(self) -> Iterator[NewRows]:
        """The rows to put in, in the order of their ids, which says nothing of their documents."""
        yield NewRows.of(sorted(self.new_rows, key=_ID))

    def seal_documents(self) -> None:
        """Seal what can be sealed only once all rows are; nothing, unless drafts are put in."""

    def remove(self, stored: StoredDocument, info: DocumentInfo) -> None:
        """Take a document out with its rows."""
        self.old_documents.append(stored)
        self.old_members.extend(info.members)

    def __bool__(self) -> bool:
        return bool(self.old_documents or self.new_documents)


class _Drafted(Changes):
    """Changes that put drafts in, whose rows are sealed while they are written.

    Args:
        context: the collection's.
        old: what is taken out.
        new: drafts by their ids.
        known: those of them, by id, that take the place of an older version.

    Raises:
        BadInput: a draft that cannot be stored.
    """

    def __init__(
        self,
        context: Context,
        old: Changes,
        new: Mapping[bytes, DocumentDraft],
        known: Mapping[bytes, DocumentInfo],
    ) -> None:
        super().__init__(old.old_documents, old.old_members)
        self._context = context
        self._new = new
        self._known = known
        self._batch = Batch(context, [NewDocument(*each) for each in new.items()])

    def rows(self) -> Iterator[NewRows]:
        return self._batch.slices()

    def seal_documents(self) -> None:
        moment = snapshots.now()
        for (identity, draft), members in zip(
            self._new.items(), self._batch.members(), strict=True
        ):
            known = self._known.get(identity)
            info = DocumentInfo(
                id=row_name(identity),
                source=draft.source,
                labels=dict(draft.labels),
                added=known.added if known is not None else moment,
                updated=moment,
                expires=draft.expires,
                content_tag=draft.content_tag,
                members=members,
            )
            self.add(seal_document(self._context, info), members)

    def __bool__(self) -> bool:
        return bool(self.old_documents or self._new)


def put(context: Context, store: Store, drafts: Sequence[DocumentDraft]) -> list[PutResult]:
    """Add new documents, replace changed ones, leave unchanged ones alone.

    Raises:
        BadInput: two drafts with one source, or a draft that cannot be stored.
        IntegrityViolated: the snapshot, a document or a row in the database was changed.
        Unreachable: the database does not answer, or another writer holds the collection.
    """
    ids = identities(context, [draft.source for draft in drafts])
    floor = context.seen
    results: list[PutResult] = []
    with store.writer() as writer:
        locked = writer.lock(context.identity)
        current = context.current(locked, floor)
        refuse_while_rotating(context, writer)
        found = {each.id: each for each in writer.documents_by_id(context.generation, ids)}
        old = Changes()
        new: dict[bytes, DocumentDraft] = {}
        known: dict[bytes, DocumentInfo] = {}
        for identity, draft in zip(ids, drafts, strict=True):
            stored = found.get(identity)
            info = open_document(context, stored) if stored else None
            if info is not None and _unchanged(info, draft):
                results.append(PutResult(draft.source, "unchanged", info.chunks))
                continue
            if stored is not None and info is not None:
                old.remove(stored, info)
                known[identity] = info
            new[identity] = draft
            results.append(
                PutResult(draft.source, "updated" if info else "added", len(draft.chunks))
            )
        changes = _Drafted(context, old, new, known)
        made = commit(context, writer, changes, locked, current) if changes else current
    context.note(made)
    return results


def first_snapshot(context: Context) -> tuple[Snapshot, StoredSnapshot]:
    """The snapshot of an empty collection, sequence 0."""
    empty = context.empty_set()
    made = Snapshot(
        collection=context.name,
        salt=context.profile.salt,
        sequence=0,
        epoch=context.profile.epoch,
        rows=0,
        documents=0,
        root=empty.digest().hex(),
        previous="",
        created=snapshots.now(),
    )
    return made, _stored(context, made, empty)


def identities(context: Context, sources: Sequence[str]) -> list[bytes]:
    """The ids of documents of one transaction.

    Raises:
        BadInput: two of them have one source, or one has no UTF-8 form.
    """
    if len(set(sources)) != len(sources):
        twice = next(source for source in sources if sources.count(source) > 1)
        raise BadInput(
            f"Two documents of one transaction have the source {twice!a}.",
            hint="Give each document a source of its own.",
        )
    try:
        return [context.document_id(source) for source in sources]
    except UnicodeEncodeError:
        raise BadInput(
            "The name of a document has no UTF-8 form.", hint="Rename the file."
        ) from None


def _unchanged(known: DocumentInfo, draft: DocumentDraft) -> bool:
    return (
        known.content_tag == draft.content_tag
        and dict(known.labels) == dict(draft.labels)
        and known.expires == draft.expires
        and known.chunks == len(draft.chunks)
    )


def commit(
    context: Context,
    writer: Writer,
    changes: Changes,
    locked: StoredSnapshot | None,
    current: Snapshot,
) -> Snapshot:
    """Make the changes and the snapshot that follows ``current``.

    Args:
        locked: the stored form of ``current``, locked by this transaction.

    Raises:
        IntegrityViolated: a row that is taken out was changed.
    """
    generation = context.generation
    if not changes.checked:
        old_rows(context, writer, changes)
    writer.delete_rows(generation, [identity for identity, _ in changes.old_members])
    writer.delete_documents(generation, [document.id for document in changes.old_documents])
    writer.insert_rows(generation, changes.rows())
    changes.seal_documents()
    writer.insert_documents(generation, sorted(changes.new_documents, key=_ID))
    total = context.set_from(locked.state if locked else b"")
    _apply(total, changes)
    made = current.next(
        rows=current.rows + len(changes.new_members) - len(changes.old_members),
        documents=current.documents + len(changes.new_documents) - len(changes.old_documents),
        root=total.digest(),
    )
    stored = _stored(context, made, total)
    writer.put_snapshot(context.identity, stored)
    context.remember(stored, made)
    return made


def old_rows(context: Context, writer: Writer, changes: Changes) -> list[StoredRow]:
    """The rows that are taken out, which must be as they were put in, or the set hash would be
    wrong.

    Raises:
        IntegrityViolated: one is missing or was changed; the message names it.
    """
    changes.checked = True
    expected = dict(changes.old_members)
    if not expected:
        return []
    found = writer.rows_by_id(context.generation, list(expected))
    for row in found:
        if expected.pop(row.id, None) != row_digest(row):
            raise _violated(context, "tampered", row.id, "was changed")
    for identity in expected:
        raise _violated(context, "missing", identity, "is missing")
    return found


def _apply(total: SetHash, changes: Changes) -> None:
    total.remove(row_element(*member) for member in changes.old_members)
    total.remove(document_element(each.id, document_digest(each)) for each in changes.old_documents)
    total.add(row_elements(changes.new_members))
    total.add(document_element(each.id, document_digest(each)) for each in changes.new_documents)


def _stored(context: Context, made: Snapshot, total: SetHash) -> StoredSnapshot:
    return StoredSnapshot(made.body(), context.signer.sign(made), total.state())


def _violated(context: Context, kind: str, identity: bytes, what: str) -> IntegrityViolated:
    name = row_name(identity)
    return IntegrityViolated(
        f"The row {name} of the collection {context.name} {what} in the database.",
        hint="Nothing was written. Run `crag-owner verify` to see everything that was changed.",
        details={"collection": context.name, "row": name, "violation": kind},
    )
