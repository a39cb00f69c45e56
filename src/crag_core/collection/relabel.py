"""Give documents other labels or another date without their content: no text, no vector is needed.

Tags and date are bound to a row's seal, so the sealed payload is opened and sealed again with a
fresh nonce. The stored vector and its IV stay bit for bit what they are: the database gets no
second sample of a vector's noise, and nothing is rounded anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from crag_core import snapshot as snapshots
from crag_core.collection.context import Context
from crag_core.collection.documents import DocumentInfo, open_document, seal_document
from crag_core.collection.drafts import LabelDraft, PutResult
from crag_core.collection.following import refuse_while_rotating
from crag_core.collection.labels import label_tags
from crag_core.collection.rows import authenticated, row_digest
from crag_core.collection.write import Changes, commit, identities, old_rows
from crag_core.store.interface import Store, StoredRow


def relabel(context: Context, store: Store, drafts: Sequence[LabelDraft]) -> list[PutResult]:
    """Give each document the labels and the date of its draft, all in one transaction.

    Raises:
        BadInput: two drafts with one source, or a label that is no text.
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
        changes, wanted = Changes(), []
        for identity, draft in zip(ids, drafts, strict=True):
            stored = found.get(identity)
            info = open_document(context, stored) if stored else None
            if stored is None or info is None or info.content_tag != draft.content_tag:
                results.append(PutResult(draft.source, "stale", 0))
            elif dict(info.labels) == dict(draft.labels) and info.expires == draft.expires:
                results.append(PutResult(draft.source, "unchanged", info.chunks))
            else:
                changes.remove(stored, info)
                wanted.append((draft, info))
                results.append(PutResult(draft.source, "updated", info.chunks))
        rows = {row.id: row for row in old_rows(context, writer, changes)}
        for draft, info in wanted:
            _sealed_again(context, changes, draft, info, rows)
        made = commit(context, writer, changes, locked, current) if changes else current
    context.note(made)
    return results


def _sealed_again(
    context: Context,
    changes: Changes,
    draft: LabelDraft,
    info: DocumentInfo,
    rows: Mapping[bytes, StoredRow],
) -> None:
    tags = tuple(label_tags(context, draft.labels))
    old = [rows[identity] for identity, _ in info.members]
    sealed = context.text_sealer.seal_many(
        [authenticated(context, row) for row in old],
        (
            context.binding.aad(
                row_id=row.id, iv=row.iv, vector=row.vector, tags=tags, expires=draft.expires
            )
            for row in old
        ),
    )
    new = [
        row._replace(nonce=nonce, ciphertext=ciphertext, tags=tags, expires=draft.expires)
        for row, nonce, ciphertext in zip(old, *sealed, strict=True)
    ]
    members = [(row.id, row_digest(row)) for row in new]
    moved = replace(
        info,
        labels=dict(draft.labels),
        expires=draft.expires,
        updated=snapshots.now(),
        members=members,
    )
    changes.new_rows += new
    changes.add(seal_document(context, moved), members)
