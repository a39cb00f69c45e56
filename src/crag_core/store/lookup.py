"""What a search asks of PostgreSQL, in as few round trips as can be."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from psycopg import sql

from crag_core.store import schema
from crag_core.store.connection import BoundedConnection, Halfvec
from crag_core.store.interface import (
    MAX_NEAREST,
    Generation,
    SeenIds,
    SeenRows,
    SeenTexts,
    StoredSnapshot,
)
from crag_core.store.rowcodec import (
    IDS_SELECT,
    ROW_SELECT,
    TEXT_SELECT,
    decode_ids,
    decode_rows,
    decode_texts,
    halfvec_header,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Kept at least on a walk through the graph: with few it misses rows, whatever the noise.
MIN_CANDIDATES = 100
# Rows that a search by tags looks at before it gives up; pgvector's default is 20 000.
MAX_SCANNED = 1_000_000
# pgvector before 0.8 has neither setting and would refuse them.
_EF_SEARCH = "SELECT set_config('hnsw.ef_search', %s, true)"
_ITERATE = (
    "SELECT set_config('hnsw.iterative_scan', 'strict_order', true),"
    " set_config('hnsw.max_scan_tuples', %s, true)"
    " FROM pg_extension WHERE extname = 'vector'"
    " AND string_to_array(extversion, '.')::int[] >= '{0,8}'"
)
_SNAPSHOT = "SELECT body, signature, state FROM crag.snapshots WHERE collection_id = %s"
# First the snapshot, in the columns of a row, then the rows: one statement sees one state of the
# database. The setting holds for this statement, and takes effect before its second part begins.
_SEEN = (
    "SELECT convert_to(body, 'UTF8'), 0::smallint, 0, signature, state,"
    " convert_to(setting, 'UTF8'), NULL::bytea, NULL::bytea, NULL::bigint"
    " FROM (SELECT set_config('hnsw.ef_search', {ef}, true) AS setting) AS s"
    " LEFT JOIN crag.snapshots ON collection_id = {collection}"
    " UNION ALL (SELECT {columns} FROM {rows} WHERE (expires IS NULL OR expires > %s){tagged}"
    " ORDER BY emb <-> %s::halfvec LIMIT {limit})"
)

# The same with the sealed texts only.
_SEEN_TEXTS = (
    "SELECT convert_to(body, 'UTF8'), signature, state, convert_to(setting, 'UTF8')"
    " FROM (SELECT set_config('hnsw.ef_search', {ef}, true) AS setting) AS s"
    " LEFT JOIN crag.snapshots ON collection_id = {collection}"
    " UNION ALL (SELECT {columns}, NULL::bytea FROM {rows}"
    " WHERE (expires IS NULL OR expires > %s){tagged}"
    " ORDER BY emb <-> %s::halfvec LIMIT {limit})"
)

# The same with the ids only, as one value: a record for each would cost more than finding it.
_SEEN_IDS = (
    "SELECT convert_to(body, 'UTF8'), signature, state, convert_to(setting, 'UTF8')"
    " FROM (SELECT set_config('hnsw.ef_search', {ef}, true) AS setting) AS s"
    " LEFT JOIN crag.snapshots ON collection_id = {collection}"
    " UNION ALL (SELECT {columns}, NULL, NULL, NULL FROM (SELECT id FROM {rows}"
    " WHERE (expires IS NULL OR expires > %s){tagged}"
    " ORDER BY emb <-> %s::halfvec LIMIT {limit}) AS near)"
)
_COLUMNS = {_SEEN: ROW_SELECT, _SEEN_TEXTS: TEXT_SELECT, _SEEN_IDS: IDS_SELECT}


class PostgresLookup:
    """Single questions of a search.

    Args:
        connection: in autocommit mode, used for nothing else meanwhile.
    """

    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection

    def snapshot(self, collection: int) -> StoredSnapshot | None:
        """The collection's snapshot, or None where its record is gone."""
        cursor = self._connection.execute(_SNAPSHOT, [collection], binary=True, prepare=True)
        found = cursor.fetchone()
        return StoredSnapshot(*found) if found else None

    def nearest(
        self,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes] = (),
    ) -> SeenRows:
        """The snapshot, and up to ``limit`` rows near ``query`` by L2 distance, unexpired at
        ``now``, with all tags.

        Without an index the search is exact; with one, as many candidates are looked at as rows
        are wanted, and 100 at least (``hnsw.ef_search``); asked for tags, pgvector 0.8 goes on
        until enough rows have them (``hnsw.iterative_scan``).
        """
        (body, _, _, signature, state, *_), *records = self._near(
            _SEEN, generation, query, limit, now, tags
        )
        return SeenRows(_snapshot(body, signature, state), decode_rows(records))

    def nearest_texts(
        self,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes] = (),
    ) -> SeenTexts:
        """As :meth:`nearest`, of each row no more than its id and its sealed text."""
        (body, signature, state, _), *records = self._near(
            _SEEN_TEXTS, generation, query, limit, now, tags
        )
        return SeenTexts(_snapshot(body, signature, state), decode_texts(records))

    def nearest_ids(
        self,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes] = (),
    ) -> SeenIds:
        """As :meth:`nearest`, of each row no more than its id."""
        (body, signature, state, _), *records = self._near(
            _SEEN_IDS, generation, query, limit, now, tags
        )
        return SeenIds(_snapshot(body, signature, state), decode_ids(records))

    def _near(
        self,
        form: str,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes],
    ) -> list[tuple[Any, ...]]:
        limit = min(limit, MAX_NEAREST)
        vector = Halfvec(halfvec_header(len(query)) + query.astype(">f2").tobytes())
        statement = _nearest(form, generation, limit, bool(tags))
        if not tags:
            return self._all(statement, [now, vector], prepare=True)
        # The planner weighs the index of tags against the other one by these settings and tags.
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._connection.execute(_EF_SEARCH, [str(_candidates(limit))])
        self._connection.execute(_ITERATE, [str(MAX_SCANNED)])
        found = self._all(statement, [now, list(tags), vector], prepare=False)
        self._connection.execute("COMMIT")
        return found

    def _all(
        self, statement: bytes, parameters: list[Any], *, prepare: bool
    ) -> list[tuple[Any, ...]]:
        cursor = self._connection.execute(statement, parameters, binary=True, prepare=prepare)
        return cursor.fetchall()


def _snapshot(body: bytes | None, signature: bytes, state: bytes) -> StoredSnapshot | None:
    if body is None:
        return None
    # Another encoding is no snapshot of crag's: its signature will not fit.
    return StoredSnapshot(body.decode("utf-8", "replace"), signature, state)


def _candidates(limit: int) -> int:
    """``hnsw.ef_search`` for a search that returns ``limit`` rows."""
    return max(limit, MIN_CANDIDATES)


@functools.lru_cache(maxsize=64)
def _nearest(form: str, generation: Generation, limit: int, tagged: bool) -> bytes:
    return (
        sql.SQL(form)
        .format(
            limit=sql.Literal(limit),
            ef=sql.Literal(str(_candidates(limit))),
            collection=sql.Literal(generation.collection),
            columns=sql.SQL(_COLUMNS[form]),
            rows=schema.rows_table(generation),
            tagged=sql.SQL(" AND tags @> %s::bytea[]" if tagged else ""),
        )
        .as_bytes(None)
    )
