"""The database's operator restores an older state in which everything fits together."""

from __future__ import annotations

import pytest

from crag_core.collection import Collection
from crag_core.errors import IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.snapshot import Anchor
from crag_core.store.postgres import PostgresStore
from support.database import DIMENSION, Postgres, Tables, draft, vector_of


@pytest.fixture
def tables(postgres: Postgres, collection: Collection) -> Tables:
    return Tables.of(postgres, collection)


@pytest.fixture
def newest(collection: Collection, tables: Tables) -> Anchor:
    """The anchor of a snapshot that the database then takes back."""
    tables.save()
    collection.put_documents([draft(collection, "doc-0.txt", version="2")])
    anchor = Anchor.of(collection.snapshot())
    tables.restore()
    return anchor


def test_whoever_has_seen_the_newer_snapshot_refuses_the_older(
    collection: Collection, newest: Anchor
) -> None:
    for attempt in (
        collection.snapshot,
        collection.load,
        lambda: collection.search(vector_of("x")),
        lambda: list(collection.documents()),
        lambda: collection.put_documents([draft(collection, "more.txt")]),
        lambda: collection.remove_documents([collection.document_id("doc-0.txt")]),
    ):
        with pytest.raises(IntegrityViolated, match="rolled back") as refused:
            attempt()
        assert refused.value.exit_code == 12


def test_an_anchor_makes_a_new_process_refuse_it_too(
    store: PostgresStore, collection: Collection, owner_key: MasterKey, newest: Anchor
) -> None:
    fresh = Collection.open(store, collection.name, owner_key)
    report = fresh.verify(newest)
    assert [(each.kind, each.row) for each in report.violations] == [("rolled_back", "snapshot")]
    with pytest.raises(IntegrityViolated, match="rolled_back snapshot"):
        Collection.open(store, collection.name, owner_key).load(newest)


def test_without_any_memory_it_cannot_be_told(
    store: PostgresStore, collection: Collection, owner_key: MasterKey, newest: Anchor
) -> None:
    assert newest.sequence == 2
    assert Collection.open(store, collection.name, owner_key).verify().ok


def test_a_service_that_runs_refuses_to_go_back(collection: Collection, tables: Tables) -> None:
    tables.save()
    collection.put_documents([draft(collection, "doc-0.txt", version="2")])
    loaded = collection.load()
    question = vector_of("passage 0 of doc-0.txt in version 2")
    assert loaded.search(question, k=1)[0].source == "doc-0.txt"
    tables.restore()
    with pytest.raises(IntegrityViolated, match="rolled back"):
        loaded.search(question)


def test_a_fork_with_the_same_number_is_refused(
    store: PostgresStore, collection: Collection, owner_key: MasterKey, newest: Anchor
) -> None:
    fork = Collection.open(store, collection.name, owner_key)
    fork.put_documents([draft(fork, "other.txt")])
    assert fork.snapshot().sequence == newest.sequence
    report = fork.verify(newest)
    assert [(each.kind, each.row) for each in report.violations] == [("rolled_back", "snapshot")]
    with pytest.raises(IntegrityViolated, match="rolled back"):
        collection.snapshot()


def test_an_older_collection_of_the_same_name_is_refused(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    anchor = Anchor.of(collection.snapshot())
    collection.drop()
    again = Collection.create(
        store, collection.name, owner_key, dimension=DIMENSION, embedder="test-embedder"
    )
    for number in range(anchor.sequence + 2):
        again.put_documents([draft(again, f"{number}.txt")])
    assert again.verify().ok
    report = again.verify(anchor)
    assert [(each.kind, each.row) for each in report.violations] == [("rolled_back", "snapshot")]
    # Whoever held the old one open finds its tables gone, not the new one's rows.
    with pytest.raises(IntegrityViolated):
        collection.search(vector_of("x"))
