"""Search by the encrypted vector, then open, then rank again without the noise."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.rows import (
    RowContent,
    authenticated,
    read_row,
    row_digest,
    row_name,
)
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.store.interface import MAX_NEAREST, Reader, StoredRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_FETCH = 100
FETCH_PER_HIT = 20


@dataclass(frozen=True)
class Hit:
    """A row that answers a question.

    ``score`` is the inner product of the plaintext unit vectors (their cosine); ``row_sha256`` is
    the digest of the row's columns, as in the sealed description of its document.
    """

    rank: int
    score: float
    text: str
    source: str
    page: int | None
    heading: str
    document_id: str
    chunk_id: str
    row_sha256: str
    index: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)


def candidates(k: int, fetch: int | None) -> int:
    """How many rows to fetch for ``k`` hits: ``fetch``, or 20 per hit, within 100 and 1000.

    Raises:
        BadInput: k is not between 1 and 1000, or ``fetch`` not between k and 1000.
    """
    if not 1 <= k <= MAX_NEAREST:
        raise BadInput(f"{k} hits cannot be searched.", hint=f"Ask for 1 to {MAX_NEAREST}.")
    if fetch is None:
        return min(max(MIN_FETCH, FETCH_PER_HIT * k), MAX_NEAREST)
    if not k <= fetch <= MAX_NEAREST:
        raise BadInput(
            f"{fetch} rows cannot be fetched for {k} hits.", hint=f"Fetch {k} to {MAX_NEAREST}."
        )
    return fetch


def find(
    context: Context,
    reader: Reader,
    vector: NDArray[np.float32],
    *,
    k: int,
    fetch: int | None,
    tags: Sequence[bytes] = (),
    known: Mapping[bytes, bytes] | None = None,
) -> list[Hit]:
    """The ``k`` nearest rows, best first, of a collection of mode ``database``.

    Every row that the database returns is opened before it may influence the order.

    Args:
        vector: the question's, float32[d] of unit norm.
        tags: keyed tags that each hit carries, all of them.
        known: id and digest of all rows that exist; a row that is not among them is refused.

    Raises:
        BadInput: the vector is not one of the collection, or k or fetch is out of range.
        IntegrityViolated: a row was changed; the message names it.
    """
    limit = candidates(k, fetch)
    now = int(time.time())
    query = context.cipher.encrypt_query(vector)
    rows = reader.nearest(context.generation, query, limit, now, tags)
    payloads = [_admit(context, row, known) for row in rows]
    # What the row itself proves about its tags counts, not what the database compared.
    for row in rows:
        if not set(tags) <= set(row.tags):
            raise _refused(context, row, "was returned without the labels asked for", "added")
    if len({row.id for row in rows}) != len(rows):
        raise _refused(context, rows[0], "was returned twice", "added")
    live = [at for at, row in enumerate(rows) if row.expires is None or row.expires > now]
    if not live:
        return []
    scores = context.cipher.scores(vector, *_matrices(context, [rows[at] for at in live]))
    # Equal scores keep an order that does not depend on the database.
    order = sorted(range(len(live)), key=lambda at: (-float(scores[at]), rows[live[at]].id))
    return [
        hit(
            rank,
            float(scores[at]),
            # Of the rows that were fetched, only these are wanted as text.
            read_row(context, rows[live[at]], payloads[live[at]]),
            row_digest(rows[live[at]]),
        )
        for rank, at in enumerate(order[:k], 1)
    ]


def _admit(context: Context, row: StoredRow, known: Mapping[bytes, bytes] | None) -> bytes:
    payload = authenticated(context, row)
    if known is not None:
        expected = known.get(row.id)
        if expected is None:
            raise _refused(context, row, "belongs to no document", "added")
        if expected != row_digest(row):
            raise _refused(context, row, "is another version than the verified one", "rolled_back")
    return payload


def _matrices(
    context: Context, rows: Sequence[StoredRow]
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    size = (len(rows), context.profile.dimension)
    vectors = np.frombuffer(b"".join(row.vector for row in rows), dtype=">f2").reshape(size)
    ivs = np.frombuffer(b"".join(row.iv for row in rows), dtype=np.uint8).reshape(len(rows), -1)
    return vectors.astype(np.float16), ivs


def hit(rank: int, score: float, content: RowContent, digest: bytes) -> Hit:
    """The hit that a row is."""
    return Hit(
        rank=rank,
        score=score,
        text=content.text,
        source=content.source,
        page=content.page,
        heading=content.heading,
        document_id=content.document_id,
        chunk_id=content.chunk_id,
        row_sha256=digest.hex(),
        index=content.index,
        metadata=content.metadata,
    )


def _refused(context: Context, row: StoredRow, what: str, kind: str) -> IntegrityViolated:
    name = row_name(row.id)
    return IntegrityViolated(
        f"The row {name} of the collection {context.name} {what}.",
        hint="Run `crag-owner verify` to see everything that was changed.",
        details={"collection": context.name, "row": name, "violation": kind},
    )
