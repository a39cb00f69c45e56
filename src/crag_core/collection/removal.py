"""Take documents out of a collection: those that are named, or those whose date is past."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from crag_core.collection.context import Context
from crag_core.collection.documents import open_document
from crag_core.collection.following import refuse_while_rotating
from crag_core.collection.rows import open_row, row_name
from crag_core.collection.write import Changes, commit
from crag_core.errors import BadInput
from crag_core.store.interface import Store


def remove(context: Context, store: Store, ids: Iterable[bytes]) -> int:
    """Remove documents with their rows; how many rows that were.

    Raises:
        BadInput: one of the documents is not there; nothing was changed.
        IntegrityViolated: the snapshot, a document or a row in the database was changed.
        Unreachable: the database does not answer, or another writer holds the collection.
    """
    wanted = list(dict.fromkeys(ids))
    floor = context.seen
    with store.writer() as writer:
        locked = writer.lock(context.identity)
        current = context.current(locked, floor)
        refuse_while_rotating(context, writer)
        changes = Changes()
        found = {each.id: each for each in writer.documents_by_id(context.generation, wanted)}
        for identity in wanted:
            if identity not in found:
                raise BadInput(
                    f"There is no document {row_name(identity)} in {context.name}.",
                    hint="`crag-owner list` shows the documents. Nothing was changed.",
                )
            changes.remove(found[identity], open_document(context, found[identity]))
        made = commit(context, writer, changes, locked, current) if changes else current
    context.note(made)
    return len(changes.old_members)


def purge(context: Context, store: Store, now: int) -> tuple[int, int]:
    """Remove the documents that expired at ``now`` or before; how many, and how many rows.

    Raises:
        IntegrityViolated: the snapshot, a document or a row in the database was changed.
        Unreachable: the database does not answer, or another writer holds the collection.
    """
    with store.reader() as reader:
        expired = {
            uuid.UUID(open_row(context, row).document_id).bytes
            for batch in reader.expired(context.generation, now)
            for row in batch
        }
    if not expired:
        return 0, 0
    floor = context.seen
    with store.writer() as writer:
        locked = writer.lock(context.identity)
        current = context.current(locked, floor)
        refuse_while_rotating(context, writer)
        changes = Changes()
        for stored in writer.documents_by_id(context.generation, sorted(expired)):
            info = open_document(context, stored)
            # Another writer may have given it a later date since it was looked up.
            if info.expired(now):
                changes.remove(stored, info)
        made = commit(context, writer, changes, locked, current) if changes else current
    context.note(made)
    return len(changes.old_documents), len(changes.old_members)
