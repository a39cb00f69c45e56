"""A loaded collection answers from verified rows only, and follows its owner's changes."""

from __future__ import annotations

import threading

import pytest

from crag_core.collection import Collection
from crag_core.errors import IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.snapshot import Anchor
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


def test_a_loaded_collection_finds_the_same_as_an_open_one(collection: Collection) -> None:
    loaded = collection.load(Anchor.of(collection.snapshot()))
    assert (loaded.name, loaded.rows) == (collection.name, 18)
    hits, snapshot = loaded.search_with_snapshot(vector_of("x"), k=5)
    assert hits == collection.search(vector_of("x"), k=5)
    assert snapshot == collection.snapshot() == loaded.snapshot


def test_what_the_owner_adds_is_verified_and_then_found(
    collection: Collection, owner: Collection
) -> None:
    loaded = collection.load()
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


def test_an_old_row_put_back_after_loading_is_refused(
    collection: Collection, owner: Collection, tables: Tables
) -> None:
    owner.put_documents([draft(owner, "new.txt")])
    tables.save()
    owner.put_documents([draft(owner, "new.txt", labels={"level": "2"})])
    loaded = collection.load()
    tables.restore(snapshot=False)
    with pytest.raises(IntegrityViolated, match="another version"):
        loaded.search(vector_of(QUESTION), k=1)


def test_a_row_added_after_loading_is_refused(
    collection: Collection, owner: Collection, tables: Tables
) -> None:
    owner.put_documents([draft(owner, "new.txt")])
    tables.save()
    owner.remove_documents([owner.document_id("new.txt")])
    loaded = collection.load()
    tables.restore(snapshot=False)
    with pytest.raises(IntegrityViolated, match="belongs to no document"):
        loaded.search(vector_of(QUESTION), k=1)


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
