"""Documents sealed outside a collection, row by row in reading order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crag_core.collection.batch import Batch, NewDocument
from crag_core.collection.context import Context
from crag_core.store.interface import StoredRow


class SealedDocument(NamedTuple):
    """A document's rows in reading order, and the id and digest of each."""

    rows: list[StoredRow]
    members: list[tuple[bytes, bytes]]


def seal_documents(context: Context, documents: Sequence[NewDocument]) -> list[SealedDocument]:
    """The rows of each document, as a transaction seals them."""
    made = Batch(context, documents)
    rows = {row.id: row for part in made.slices() for row in part.rows()}
    assert len(rows) == len(made)
    return [
        SealedDocument([rows[identity] for identity, _ in members], members)
        for members in made.members()
    ]
