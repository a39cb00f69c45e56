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
    authenticated_all,
    read_row,
    row_digest,
    row_digests,
    row_name,
)
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.store.interface import MAX_NEAREST, StoredRow

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_FETCH = 100
FETCH_PER_HIT = 20
# Vectors decrypted in one step: what malloc takes from the system anew each time is slower.
SCRATCH_BYTES = 96 * 1024


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


@dataclass(frozen=True)
class Question:
    """A question on its way to a database: what it asks for, and what the database sees of it.

    ``vector`` is float32[d] of unit norm, ``query`` its encryption; ``now`` seconds since 1970.
    """

    vector: NDArray[np.float32]
    query: NDArray[np.float32]
    k: int
    limit: int
    now: int
    tags: tuple[bytes, ...]

    @property
    def asked(self) -> tuple[NDArray[np.float32], int, int, tuple[bytes, ...]]:
        """What the database is told: query, number of rows, time, tags."""
        return self.query, self.limit, self.now, self.tags

    @classmethod
    def of(
        cls,
        context: Context,
        vector: NDArray[np.float32],
        k: int,
        fetch: int | None,
        tags: Sequence[bytes],
    ) -> Question:
        """A question asked now.

        Args:
            tags: keyed tags that each hit carries, all of them.

        Raises:
            BadInput: the vector is not one of the collection, or k or fetch is out of range.
        """
        limit = candidates(k, fetch)
        query = context.cipher.encrypt_query(vector)
        return cls(vector, query, k, limit, int(time.time()), tuple(tags))


def find(
    context: Context,
    question: Question,
    rows: Sequence[StoredRow],
    known: Mapping[bytes, bytes] | None = None,
) -> list[Hit]:
    """The ``k`` nearest of the rows that a database of mode ``database`` returned, best first.

    Every row is authenticated before it may influence the order.

    Args:
        known: id and digest of all rows that exist; a row that is not among them is refused.

    Raises:
        IntegrityViolated: a row was changed; the message names it.
    """
    if known is None:
        payloads = authenticated_all(context, rows)
        near = ranked(context, question, rows)
        opened = [(rows[at], payloads[at], row_digest(rows[at])) for at, _ in near]
    else:
        # Their digests say that the rows are the verified ones, so only the hits are opened.
        digests = _compared(context, rows, known)
        near = ranked(context, question, rows)
        opened = [(rows[at], authenticated(context, rows[at]), digests[at]) for at, _ in near]
    return [
        hit(rank, score, read_row(context, row, payload), digest)
        for rank, ((_, score), (row, payload, digest)) in enumerate(
            zip(near, opened, strict=True), 1
        )
    ]


def _compared(
    context: Context, rows: Sequence[StoredRow], known: Mapping[bytes, bytes]
) -> list[bytes]:
    """The digests of rows that are as they were verified."""
    digests = row_digests(rows)
    for row, digest in zip(rows, digests, strict=True):
        expected = known.get(row.id)
        if expected != digest:
            # Opened first, because what does not open was changed and is no other version.
            authenticated(context, row)
            if expected is None:
                raise _refused(context, row, "belongs to no document", "added")
            raise _refused(context, row, "is another version than the verified one", "rolled_back")
    return digests


def ranked(
    context: Context, question: Question, rows: Sequence[StoredRow]
) -> list[tuple[int, float]]:
    """Places in ``rows`` of the ``k`` nearest, and their scores, best first.

    Args:
        rows: authenticated; what they prove about their tags and dates counts, not what the
            database compared.

    Raises:
        IntegrityViolated: a row was returned twice, or has not the tags asked for.
    """
    tags = set(question.tags)
    if tags:
        for row in rows:
            if not tags <= set(row.tags):
                raise _refused(context, row, "was returned without the labels asked for", "added")
    if len({row.id for row in rows}) != len(rows):
        raise _refused(context, rows[0], "was returned twice", "added")
    now = question.now
    live = [at for at, row in enumerate(rows) if row.expires is None or row.expires > now]
    if not live:
        return []
    shown = rows if len(live) == len(rows) else [rows[at] for at in live]
    scores = _scores(context, question.vector, shown)
    near = _highest(scores, question.k)
    # Equal scores keep an order that does not depend on the database.
    near.sort(key=lambda at: (-float(scores[at]), shown[at].id))
    return [(live[at], float(scores[at])) for at in near[: question.k]]


def _highest(scores: NDArray[np.float32], k: int) -> list[int]:
    """Places of all scores that are not below the k-th highest."""
    if len(scores) <= k:
        return list(range(len(scores)))
    edge = np.partition(scores, len(scores) - k)[len(scores) - k]
    found: list[int] = np.flatnonzero(scores >= edge).tolist()
    return found


def _scores(
    context: Context, vector: NDArray[np.float32], rows: Sequence[StoredRow]
) -> NDArray[np.float32]:
    """Inner products float32[n] of the question with the plaintexts of authenticated rows."""
    cipher, dimension = context.cipher, context.profile.dimension
    rotated = cipher.rotate(vector)
    step = max(1, SCRATCH_BYTES // (4 * dimension))
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        halves = np.frombuffer(b"".join([row.vector for row in part]), dtype=">f2")
        ivs = np.frombuffer(b"".join([row.iv for row in part]), dtype=np.uint8)
        vectors = halves.astype(np.float16).reshape(len(part), dimension)
        scores[start : start + step] = cipher.denoise(vectors, ivs.reshape(len(part), -1)) @ rotated
    return scores


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
