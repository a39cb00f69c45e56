"""Search by the encrypted vector, then open, then rank again without the noise."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.fetching import rows_for
from crag_core.collection.rows import (
    RowContent,
    authenticated,
    authenticated_all,
    authenticated_row,
    read_row,
    row_digest,
    row_name,
)
from crag_core.errors import IntegrityViolated
from crag_core.store.interface import StoredRow
from crag_core.vectors.keystream import IV_BYTES

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
        limit = rows_for(k, fetch, context.fetch)
        query = context.cipher.encrypt_query(vector)
        return cls(vector, query, k, limit, int(time.time()), tuple(tags))


def find(context: Context, question: Question, rows: Sequence[StoredRow]) -> list[Hit]:
    """The ``k`` nearest of the rows that a database of mode ``database`` returned, best first.

    Every row is authenticated before it may influence the order.

    Raises:
        IntegrityViolated: a row was changed; the message names it.
    """
    payloads = authenticated_all(context, rows)
    near = ranked(context, question, rows)
    opened = [(score, rows[at], payloads[at], row_digest(rows[at])) for at, score in near]
    return _hits(context, opened)


def find_known(
    context: Context, near: Sequence[tuple[StoredRow, float]], known: Mapping[bytes, bytes]
) -> list[Hit]:
    """The hits that rows and their scores are, best first.

    Args:
        known: id and digest of all rows that exist.

    Raises:
        IntegrityViolated: a row is not the verified one; the message names it.
    """
    opened = []
    for row, score in near:
        # Opened first, because what does not open was changed and is no other version.
        payload, digest = authenticated_row(context, row)
        if digest != known.get(row.id):
            what = "is another version than the verified one"
            raise refused(context, row.id, what, "rolled_back")
        opened.append((score, row, payload, digest))
    return _hits(context, opened)


def find_held(
    context: Context, near: Sequence[tuple[StoredRow, float]], known: Mapping[bytes, bytes]
) -> list[Hit]:
    """As :func:`find_known`, of rows all of which is as it was when their digests were verified."""
    opened = [(score, row, authenticated(context, row), known[row.id]) for row, score in near]
    return _hits(context, opened)


def _hits(context: Context, opened: Sequence[tuple[float, StoredRow, bytes, bytes]]) -> list[Hit]:
    return [
        hit(rank, score, read_row(context, row, payload), digest)
        for rank, (score, row, payload, digest) in enumerate(opened, 1)
    ]


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
                what = "was returned without the labels asked for"
                raise refused(context, row.id, what, "added")
    if len({row.id for row in rows}) != len(rows):
        raise refused(context, rows[0].id, "was returned twice", "added")
    now = question.now
    live = [at for at, row in enumerate(rows) if row.expires is None or row.expires > now]
    if not live:
        return []
    shown = rows if len(live) == len(rows) else [rows[at] for at in live]
    sealed = stacked(context, [row.vector for row in shown], [row.iv for row in shown])
    scores = context.cipher.scores(question.vector, *sealed)
    near = highest(scores, lambda at: shown[at].id, question.k)
    return [(live[at], score) for at, score in near]


def highest(
    scores: NDArray[np.float32], id_of: Callable[[int], bytes], k: int
) -> list[tuple[int, float]]:
    """Places and scores of the ``k`` highest, best first.

    Equal scores stand in the order of the rows' ids, which does not depend on the database.
    """
    near = _not_below(scores, k)
    near.sort(key=lambda at: (-float(scores[at]), id_of(at)))
    return [(at, float(scores[at])) for at in near[:k]]


def stacked(
    context: Context, vectors: Sequence[bytes], ivs: Sequence[bytes]
) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Encrypted vectors and IVs of authenticated rows as float16[n, d] and uint8[n, 12]."""
    halves = np.frombuffer(b"".join(vectors), dtype=">f2").astype(np.float16)
    starts = np.frombuffer(b"".join(ivs), dtype=np.uint8)
    return halves.reshape(-1, context.profile.dimension), starts.reshape(-1, IV_BYTES)


def _not_below(scores: NDArray[np.float32], k: int) -> list[int]:
    """Places of all scores that are not below the k-th highest."""
    if len(scores) <= k:
        return list(range(len(scores)))
    edge = np.partition(scores, len(scores) - k)[len(scores) - k]
    found: list[int] = np.flatnonzero(scores >= edge).tolist()
    return found


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


def refused(context: Context, identity: bytes, what: str, kind: str) -> IntegrityViolated:
    """The error for a row that is not what was verified."""
    name = row_name(identity)
    return IntegrityViolated(
        f"The row {name} of the collection {context.name} {what}.",
        hint="Run `crag-owner verify` to see everything that was changed.",
        details={"collection": context.name, "row": name, "violation": kind},
    )
