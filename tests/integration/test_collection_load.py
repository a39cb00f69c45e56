"""A loaded collection answers from verified rows only, and follows its owner's changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from crag_core.collection import Collection
from crag_core.collection.verified_rows import TEXT_BYTES
from crag_core.errors import IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.snapshot import Anchor
from crag_core.store.connection import BoundedConnection
from crag_core.store.interface import SeenIds, SeenTexts, StoredText
from crag_core.store.lookup import PostgresLookup
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, Tables, draft, vector_of

QUESTION = "passage 0 of new.txt in version 1"


@pytest.fixture
def tables(postgres: Postgres, collection: Collection) -> Tables:
    return Tables.of(postgres, collection)


@pytest.fixture
def owner(store: PostgresStore, collection: Collection, owner_key: MasterKey) -> Collection:
    """The owner's own view of the collection, apart from the service's."""
    return Collection.open(store, collection.name, owner_key)


@pytest.fixture(params=["texts held", "texts fetched"])
def text_bytes(request: pytest.FixtureRequest) -> int:
    """What a service may hold of sealed texts: all of them, or none."""
    return TEXT_BYTES if request.param == "texts held" else 0


def test_a_loaded_collection_finds_the_same_as_an_open_one(
    collection: Collection, text_bytes: int
) -> None:
    loaded = collection.load(Anchor.of(collection.snapshot()), text_bytes=text_bytes)
    assert (loaded.name, loaded.rows) == (collection.name, 18)
    hits, snapshot = loaded.search_with_snapshot(vector_of("x"), k=5)
    assert hits == collection.search(vector_of("x"), k=5)
    assert snapshot == collection.snapshot() == loaded.snapshot


def test_what_the_owner_adds_is_verified_and_then_found(
    collection: Collection, owner: Collection, text_bytes: int
) -> None:
    loaded = collection.load(text_bytes=text_bytes)
    owner.put_documents([draft(owner, "new.txt")])
    assert loaded.search(vector_of(QUESTION), k=1)[0].source == "new.txt"
    assert loaded.snapshot.sequence == 2
    owner.remove_documents([owner.document_id("new.txt")])
    assert loaded.search(vector_of(QUESTION), k=1)[0].source != "new.txt"


def test_a_newer_snapshot_that_does_not_verify_is_refused(
    collection: Collection, owner: Collection, tables: Tables
) -> None:
    loaded = collection.load()
    owner.put_documents([draft(owner, "new.txt")])
    found = owner.find("new.txt")
    assert found is not None
    tables.sql(f"DELETE FROM {{rows}} WHERE id = '{found.rows[0]}'")  # noqa: S608
    with pytest.raises(IntegrityViolated, match=found.rows[0]):
        loaded.search(vector_of("x"))


@pytest.mark.parametrize(
    ("labels", "reason"), [({}, "another version"), ({"level": "2"}, "tampered")]
)
def test_an_old_row_put_back_after_loading_is_refused(
    collection: Collection,
    owner: Collection,
    tables: Tables,
    labels: dict[str, str],
    reason: str,
) -> None:
    owner.put_documents([draft(owner, "new.txt")])
    tables.save()
    for each in ({"level": "1"}, labels):
        owner.put_documents([draft(owner, "new.txt", labels=each)])
    loaded = collection.load(text_bytes=0)
    tables.restore(snapshot=False)
    # Under the labels that were verified an old text opens, and its digest tells it.
    with pytest.raises(IntegrityViolated, match=reason):
        loaded.search(vector_of(QUESTION), k=1)


def test_a_row_added_after_loading_is_refused(
    collection: Collection, owner: Collection, tables: Tables, text_bytes: int
) -> None:
    owner.put_documents([draft(owner, "new.txt")])
    tables.save()
    owner.remove_documents([owner.document_id("new.txt")])
    loaded = collection.load(text_bytes=text_bytes)
    tables.restore(snapshot=False)
    with pytest.raises(IntegrityViolated, match="belongs to no document"):
        loaded.search(vector_of(QUESTION), k=1)


@pytest.mark.parametrize(
    "change", ["ct = set_byte(ct, 20, get_byte(ct, 20) # 1)", "nonce = '\\x00'"]
)
def test_a_hit_changed_after_loading_is_named(
    collection: Collection, owner: Collection, tables: Tables, change: str
) -> None:
    owner.put_documents([draft(owner, "new.txt")])
    best = collection.search(vector_of(QUESTION), k=1)[0]
    loaded = collection.load(text_bytes=0)
    tables.sql(f"UPDATE {{rows}} SET {change} WHERE id = '{best.chunk_id}'")  # noqa: S608
    with pytest.raises(IntegrityViolated) as caught:
        loaded.search(vector_of(QUESTION), k=1)
    assert caught.value.details["row"] == best.chunk_id
    assert caught.value.details["violation"] == "tampered"


def test_texts_changed_after_loading_count_for_nothing_where_they_are_held(
    collection: Collection, tables: Tables
) -> None:
    loaded = collection.load()
    before = loaded.search(vector_of(QUESTION), k=3)
    tables.sql("UPDATE {rows} SET ct = '', nonce = ''")
    assert loaded.search(vector_of(QUESTION), k=3) == before


def test_other_columns_changed_after_loading_count_for_nothing(
    collection: Collection, owner: Collection, tables: Tables, text_bytes: int
) -> None:
    owner.put_documents([draft(owner, "new.txt")])
    loaded = collection.load(text_bytes=text_bytes)
    before = loaded.search(vector_of(QUESTION), k=3)
    # Every row claims to be where the best one is, of another date and with other labels.
    tables.sql(
        "UPDATE {rows} SET tags = ARRAY['\\x00'::bytea], expires = 99999999999, emb ="
        " (SELECT emb FROM {rows} WHERE id = %s)",
        before[0].chunk_id,
    )
    assert loaded.search(vector_of(QUESTION), k=3) == before


def lying(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[list[StoredText]], list[StoredText]]
) -> None:
    """Have the database name other rows than the near ones."""
    honest = PostgresLookup.nearest_texts

    def near(self: PostgresLookup, *asked: Any) -> SeenTexts:
        seen = honest(self, *asked)
        return SeenTexts(seen.snapshot, change(seen.texts))

    def ids(self: PostgresLookup, *asked: Any) -> SeenIds:
        seen = near(self, *asked)
        return SeenIds(seen.snapshot, b"".join(text.id for text in seen.texts))

    monkeypatch.setattr(PostgresLookup, "nearest_texts", near)
    monkeypatch.setattr(PostgresLookup, "nearest_ids", ids)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda texts: [*texts, texts[0]], "returned twice"),
        (lambda texts: [*texts, StoredText(bytes(16), b"", b"")], "belongs to no document"),
        (lambda texts: [*texts, StoredText(b"short", b"", b"")], "belongs to no document"),
        (lambda texts: [StoredText(b"short", b"", b""), *texts], "belongs to no document"),
    ],
)
def test_rows_that_a_database_cannot_have_are_refused(
    collection: Collection,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[StoredText]], list[StoredText]],
    reason: str,
    text_bytes: int,
) -> None:
    loaded = collection.load(text_bytes=text_bytes)
    lying(monkeypatch, change)
    with pytest.raises(IntegrityViolated, match=reason):
        loaded.search(vector_of("x"))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda texts: [each._replace(nonce=b"") for each in texts], "tampered"),
        (lambda texts: [each._replace(ciphertext=b"") for each in texts], "tampered"),
        (
            lambda texts: [
                one._replace(id=other.id) for one, other in zip(texts, texts[::-1], strict=True)
            ],
            "tampered",
        ),
    ],
)
def test_texts_that_a_database_cannot_have_are_refused(
    collection: Collection,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[list[StoredText]], list[StoredText]],
    reason: str,
) -> None:
    loaded = collection.load(text_bytes=0)
    lying(monkeypatch, change)
    with pytest.raises(IntegrityViolated, match=reason):
        loaded.search(vector_of("x"))


def test_labels_and_dates_are_judged_by_what_was_verified(
    collection: Collection,
    owner: Collection,
    store: PostgresStore,
    monkeypatch: pytest.MonkeyPatch,
    text_bytes: int,
) -> None:
    owner.put_documents([draft(owner, "new.txt", labels={"team": "a"})])
    owner.put_documents([draft(owner, "old.txt", expires=5)])
    loaded = collection.load(text_bytes=text_bytes)
    with store.reader() as reader:
        everything = [
            StoredText(row.id, row.nonce, row.ciphertext)
            for batch in reader.rows(collection._context.generation)
            for row in batch
        ]
    hits = loaded.search(vector_of("x"), k=3, filter={"team": "a"})
    assert {hit.source for hit in hits} == {"new.txt"}
    lying(monkeypatch, lambda _texts: everything)
    found = {hit.source for hit in loaded.search(vector_of("x"), k=100)}
    assert "new.txt" in found
    assert "old.txt" not in found
    with pytest.raises(IntegrityViolated, match="without the labels"):
        loaded.search(vector_of("x"), filter={"team": "a"})


def test_the_database_does_not_learn_which_of_the_near_rows_the_hits_are(
    collection: Collection, monkeypatch: pytest.MonkeyPatch, text_bytes: int
) -> None:
    loaded = collection.load(text_bytes=text_bytes)
    asked: list[Any] = []
    honest = BoundedConnection.execute

    def execute(self: BoundedConnection, query: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        return honest(self, query, *arguments, **options)

    monkeypatch.setattr(BoundedConnection, "execute", execute)
    assert len(loaded.search(vector_of("x"), k=2, fetch=12)) == 2
    assert len([query for query in asked if query != "SELECT 1"]) == 1


def test_many_threads_search_while_the_owner_writes(
    collection: Collection, owner: Collection
) -> None:
    loaded = collection.load()
    failures: list[Exception] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                assert len(loaded.search(vector_of(QUESTION), k=3)) == 3
            except Exception as error:  # noqa: BLE001 - reported below
                failures.append(error)
                return

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(5):
        owner.put_documents([draft(owner, "new.txt", version=str(version))])
    done.set()
    for thread in threads:
        thread.join(30)
    # A service that is overtaken again and again says so; it never calls that a violation.
    assert [error for error in failures if isinstance(error, IntegrityViolated)] == []
    assert loaded.search(vector_of("passage 0 of new.txt in version 4"), k=1)[0].source == "new.txt"
    assert loaded.snapshot.sequence == 6
