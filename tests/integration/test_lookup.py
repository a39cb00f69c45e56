"""One statement returns the snapshot and the rows of the same moment, by the index."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from psycopg import sql

from crag_core.collection import Collection
from crag_core.store.interface import SeenIds, SeenRows, SeenTexts
from crag_core.store.postgres import PostgresStore
from crag_core.store.schema import rows_table
from support.database import draft, vector_of

ROWS = 120
LIMIT = 100


@pytest.fixture
def large(store: PostgresStore, collection: Collection) -> Collection:
    """Enough rows that pgvector's default of 40 candidates would not do; with the index."""
    drafts = [draft(collection, f"more-{number}.txt") for number in range(ROWS // 3)]
    collection.put_documents(drafts)
    assert store.index(collection._context.generation)
    return collection


def near(store: PostgresStore, collection: Collection, limit: int = LIMIT) -> SeenRows:
    query = collection.cipher.encrypt_query(vector_of("x"))
    with store.lookup() as lookup:
        # The table is so small that PostgreSQL would read it whole.
        lookup._connection.execute("SET enable_seqscan = off")
        return lookup.nearest(collection._context.generation, query, limit, 0)


def test_as_many_candidates_are_looked_at_as_rows_are_wanted(
    store: PostgresStore, large: Collection
) -> None:
    for _ in range(8):
        # Prepared by the first, and from the sixth on by a plan for all parameters.
        seen = near(store, large)
        assert len({row.id for row in seen.rows}) == LIMIT
    assert len(near(store, large, 7).rows) == 7


def test_a_walk_through_the_graph_keeps_a_hundred_candidates_at_least(
    store: PostgresStore, large: Collection
) -> None:
    for limit in (7, 110):
        near(store, large, limit)
    with store._connections.connection() as connection:
        found = connection.execute("SELECT statement FROM pg_prepared_statements").fetchall()
    kept = {
        int(limit): int(ef)
        for (statement,) in found
        for ef, limit in re.findall(r"ef_search', '(\d+)'.* LIMIT (\d+)", statement)
    }
    assert kept == {7: 100, 110: 110}


def near_texts(store: PostgresStore, collection: Collection, limit: int = LIMIT) -> SeenTexts:
    query = collection.cipher.encrypt_query(vector_of("x"))
    with store.lookup() as lookup:
        lookup._connection.execute("SET enable_seqscan = off")
        return lookup.nearest_texts(collection._context.generation, query, limit, 0)


def test_texts_are_those_of_the_rows_that_are_near(store: PostgresStore, large: Collection) -> None:
    for limit in (1, 7, LIMIT):
        for _ in range(7):
            seen, texts = near(store, large, limit), near_texts(store, large, limit)
            assert texts.texts == [(row.id, row.nonce, row.ciphertext) for row in seen.rows]
            assert texts.snapshot == seen.snapshot


def near_ids(store: PostgresStore, collection: Collection, limit: int = LIMIT) -> SeenIds:
    query = collection.cipher.encrypt_query(vector_of("x"))
    with store.lookup() as lookup:
        lookup._connection.execute("SET enable_seqscan = off")
        return lookup.nearest_ids(collection._context.generation, query, limit, 0)


def test_ids_are_those_of_the_rows_that_are_near(store: PostgresStore, large: Collection) -> None:
    for limit in (1, 7, LIMIT):
        for _ in range(7):
            seen, ids = near(store, large, limit), near_ids(store, large, limit)
            assert ids.joined == b"".join(row.id for row in seen.rows)
            assert ids.snapshot == seen.snapshot


@pytest.mark.parametrize("ask", [near, near_texts, near_ids])
def test_the_plan_is_one_by_the_index(
    store: PostgresStore,
    large: Collection,
    ask: Callable[[PostgresStore, Collection], object],
) -> None:
    ask(store, large)
    with store._connections.connection() as connection:
        ((prepared,),) = connection.execute(
            "SELECT name FROM pg_prepared_statements WHERE statement LIKE '%hnsw.ef_search%'"
        ).fetchall()
        vector = np.zeros(large.profile.dimension).tolist()
        plan = connection.execute(f"EXPLAIN EXECUTE {prepared}(0, '{vector}')").fetchall()
        assert any("_emb on rows_" in line for (line,) in plan)
        # The setting ended with the statement.
        assert connection.execute("SHOW hnsw.ef_search").fetchone() == ("40",)


def test_each_answer_has_the_snapshot_of_its_moment(
    store: PostgresStore, collection: Collection
) -> None:
    first = near(store, collection)
    assert first.snapshot is not None
    assert len(first.rows) == collection.snapshot().rows
    collection.put_documents([draft(collection, "new.txt")])
    second = near(store, collection)
    assert second.snapshot is not None
    assert collection._context.check(second.snapshot).sequence == 2
    assert len(second.rows) == collection.snapshot().rows


def test_a_snapshot_that_is_gone_is_none(store: PostgresStore, collection: Collection) -> None:
    with store._connections.connection() as connection:
        connection.execute(
            "DELETE FROM crag.snapshots WHERE collection_id = %s", [collection._context.identity]
        )
    seen = near(store, collection)
    assert seen.snapshot is None
    assert len(seen.rows) == 18
    texts = near_texts(store, collection)
    assert (texts.snapshot, len(texts.texts)) == (None, 18)
    ids = near_ids(store, collection)
    assert (ids.snapshot, len(ids.joined)) == (None, 18 * 16)


def test_of_no_row_there_is_no_id(store: PostgresStore, collection: Collection) -> None:
    generation = collection._context.generation
    with store._connections.connection() as connection:
        connection.execute(sql.SQL("DELETE FROM {}").format(rows_table(generation)))
    assert near_ids(store, collection).joined == b""
