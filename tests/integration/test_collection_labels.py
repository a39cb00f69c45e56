"""Labels filter by keyed tags, and expired documents are gone before anybody removed them."""

from __future__ import annotations

import time

import pytest

from crag_core.collection import Collection, DocumentDraft
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, Tables, draft, new_collection, vector_of


@pytest.fixture(params=["database", "enclave"])
def labelled(
    request: pytest.FixtureRequest, store: PostgresStore, owner_key: MasterKey
) -> Collection:
    made = new_collection(store, owner_key, search_mode=request.param)
    made.put_documents(
        [
            draft(made, "red.txt", labels={"colour": "red", "size": "s"}),
            draft(made, "blue.txt", labels={"colour": "blue", "size": "s"}),
            draft(made, "plain.txt"),
        ]
    )
    return made


def numbered(collection: Collection, name: str, count: int, **fields: object) -> DocumentDraft:
    return draft(collection, name, texts=[f"{name} {n}" for n in range(count)], **fields)


def sources(collection: Collection, **labels: str) -> set[str]:
    return {hit.source for hit in collection.search(vector_of("x"), 50, filter=labels)}


def test_a_filter_returns_what_has_all_labels_and_nothing_else(labelled: Collection) -> None:
    assert sources(labelled) == {"red.txt", "blue.txt", "plain.txt"}
    assert sources(labelled, colour="red") == {"red.txt"}
    assert sources(labelled, size="s") == {"red.txt", "blue.txt"}
    assert sources(labelled, size="s", colour="blue") == {"blue.txt"}
    assert sources(labelled, colour="Red") == set()
    assert sources(labelled, size="red") == set()
    loaded = labelled.load()
    found = loaded.search(vector_of("x"), 50, filter={"colour": "red"})
    assert {hit.source for hit in found} == {"red.txt"}
    assert loaded.search_with_snapshot(vector_of("x"), 5, filter={"colour": "no"})[0] == []


def test_a_label_without_utf8_form_is_refused(labelled: Collection) -> None:
    for labels in ({"a": "\ud800"}, {"a": 3}):
        with pytest.raises(BadInput, match="label"):
            labelled.search(vector_of("x"), filter=labels)  # type: ignore[arg-type]


def test_changed_labels_replace_the_tags(labelled: Collection) -> None:
    labelled.put_documents([draft(labelled, "red.txt", labels={"colour": "green"})])
    assert sources(labelled, colour="red") == set()
    assert sources(labelled, colour="green") == {"red.txt"}
    assert labelled.verify().ok


def test_the_database_sees_keyed_tags_only(labelled: Collection, postgres: Postgres) -> None:
    tables = Tables.of(postgres, labelled)
    tags = [tuple(map(bytes, row[0])) for row in tables.sql("SELECT tags FROM {rows}")]
    assert sorted(map(len, tags)) == [0] * 3 + [2] * 6
    assert {len(each) for row in tags for each in row} == {16}
    # Three labels in all: one shared by two documents, two of one document each.
    assert len({each for row in tags for each in row}) == 3
    assert all(row == tuple(sorted(row)) for row in tags)


def test_a_database_that_ignores_the_filter_is_refused(
    store: PostgresStore, owner_key: MasterKey, postgres: Postgres
) -> None:
    made = new_collection(store, owner_key)
    made.put_documents([draft(made, "red.txt", labels={"colour": "red"}), draft(made, "x.txt")])
    tables = Tables.of(postgres, made)
    # A view in the table's place returns every row with the tags that were asked for.
    tables.sql("ALTER TABLE {rows} RENAME TO real_{number}")
    tables.sql(
        "CREATE VIEW {rows} AS SELECT id, version, epoch, iv, emb, nonce, ct,"
        " (SELECT tags FROM crag.real_{number} WHERE tags <> '{{}}' LIMIT 1) AS tags, expires"
        " FROM crag.real_{number}"
    )
    tables.sql("GRANT SELECT ON {rows} TO rag")
    with pytest.raises(IntegrityViolated, match="tampered"):
        made.search(vector_of("x"), 50, filter={"colour": "red"})


def test_a_filter_that_few_rows_pass_finds_them_behind_the_index(
    store: PostgresStore, owner_key: MasterKey, postgres: Postgres
) -> None:
    made = new_collection(store, owner_key)
    made.put_documents(
        [
            numbered(made, "common", 3000, labels={"kind": "common"}),
            numbered(made, "rare", 5, labels={"kind": "rare"}),
        ]
    )
    assert store.index(made._context.generation)
    names = {name for (name,) in postgres.sql("SELECT indexname FROM pg_indexes")}
    number = Tables.of(postgres, made).number
    assert {f"rows_{number}_1_emb", f"rows_{number}_1_tags"} <= names
    for setting in ("on", "off"):
        # With bitmap scans off only the graph is left, which has to go on beyond its first rows.
        postgres.sql(f"ALTER ROLE rag SET enable_bitmapscan = {setting}")
        try:
            with PostgresStore(store.settings) as fresh:
                again = Collection.open(fresh, made.name, owner_key)
                hits = again.search(vector_of("common 7"), 5, filter={"kind": "rare"})
        finally:
            postgres.sql("ALTER ROLE rag RESET enable_bitmapscan")
        assert {hit.text for hit in hits} == {f"rare {n}" for n in range(5)}


def test_an_expired_document_is_neither_found_nor_shown_and_is_purged(
    labelled: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = int(time.time()) + 1000
    labelled.put_documents(
        [
            draft(labelled, "brief.txt", labels={"colour": "red"}, expires=soon),
            draft(labelled, "long.txt", expires=soon + 1000),
        ]
    )
    loaded = labelled.load()
    assert labelled.purge() == (0, 0)
    assert "brief.txt" in sources(labelled)
    before = labelled.snapshot()
    monkeypatch.setattr(time, "time", lambda: float(soon))
    assert "brief.txt" not in sources(labelled)
    assert sources(labelled, colour="red") == {"red.txt"}
    found = loaded.search(vector_of("x"), 50)
    assert "brief.txt" not in {hit.source for hit in found}
    info = labelled.find("brief.txt")
    assert info is not None
    assert info.expired()
    with pytest.raises(BadInput, match="expired"):
        labelled.chunks_of(info)
    assert labelled.verify().ok
    assert labelled.purge() == (1, 3)
    assert labelled.find("brief.txt") is None
    assert labelled.find("long.txt") is not None
    after = labelled.snapshot()
    assert (after.rows, after.sequence) == (before.rows - 3, before.sequence + 1)
    assert labelled.verify().ok
    assert labelled.purge() == (0, 0)
    assert labelled.snapshot() == after


def test_a_document_that_got_a_later_date_is_not_purged(labelled: Collection) -> None:
    now = int(time.time())
    labelled.put_documents([draft(labelled, "brief.txt", expires=now - 5)])
    labelled.put_documents([draft(labelled, "brief.txt", expires=now + 500)])
    assert labelled.purge() == (0, 0)
    assert "brief.txt" in sources(labelled)


def test_a_row_whose_date_was_put_off_by_sql_is_refused(
    labelled: Collection, postgres: Postgres
) -> None:
    labelled.put_documents([draft(labelled, "brief.txt", expires=int(time.time()) - 5)])
    Tables.of(postgres, labelled).sql("UPDATE {rows} SET expires = NULL")
    with pytest.raises(IntegrityViolated):
        labelled.search(vector_of("x"), 50)
