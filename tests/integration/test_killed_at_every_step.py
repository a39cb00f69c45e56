"""SIGKILL at every single exchange with the database, then the same call again."""

from __future__ import annotations

import logging

import pytest

from crag_core.collection import Collection
from crag_core.collection.rotation import rotate
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, draft, new_collection, vector_of
from support.killed import DONE, KILLED, killed_at

QUESTION = vector_of("passage 0 of doc-0.txt in version 1")


def texts(collection: Collection) -> dict[str, list[str]]:
    return {
        info.source: [row.text for row in collection.chunks_of(info)]
        for info in collection.documents()
    }


def filled(store: PostgresStore, key: MasterKey) -> Collection:
    made = new_collection(store, key)
    made.put_documents([draft(made, f"doc-{number}.txt") for number in range(4)])
    return made


def ingest(collection: Collection) -> None:
    """What an ingest does: two batches, each with a new, a changed and an unchanged document."""
    for number in range(2):
        collection.put_documents(
            [
                draft(collection, f"new-{number}.txt"),
                draft(collection, f"doc-{number}.txt", version="2"),
                draft(collection, f"doc-{number + 2}.txt"),
            ]
        )


def test_a_rotation_killed_at_any_point_goes_on(
    postgres: Postgres,
    store: PostgresStore,
    owner_key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("crag_core.collection.rotation.BATCH_ROWS", 6)
    killed, epochs = 0, set()
    collection = filled(store, owner_key)
    name, wanted = collection.name, texts(collection)
    for count in range(1, 400):
        before = Collection.open(store, name, owner_key).snapshot()
        outcome = killed_at(count, postgres.user, lambda own: rotate(own, name, owner_key))
        opened = Collection.open(store, name, owner_key)
        # Whatever the moment: whole, in the one epoch or in the other, and searchable.
        assert opened.snapshot().epoch in (before.epoch, before.epoch + 1)
        report = opened.verify()
        assert (report.ok, report.rows, report.documents) == (True, 12, 4), count
        assert opened.search(QUESTION, 1)[0].source == "doc-0.txt"
        if outcome == DONE:
            break
        killed += 1
        epochs.add(opened.snapshot().epoch - before.epoch)
        rotate(store, name, owner_key)
        after = Collection.open(store, name, owner_key)
        assert after.snapshot().epoch in (before.epoch + 1, before.epoch + 2)
        assert texts(after) == wanted
        assert after.verify().ok
        left = postgres.sql(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'crag' AND tablename ~ %s",
            f"_{collection._context.identity}_[0-9]+$",
        )
        assert left == [(2,)]
    else:
        pytest.fail("the rotation never got to its end")
    logging.getLogger(__name__).info("%d kills", killed)
    assert killed >= 40
    # Kills before and after the switch both happened.
    assert epochs == {0, 1}


def test_a_rotation_killed_again_and_again_arrives(
    postgres: Postgres, store: PostgresStore, owner_key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crag_core.collection.rotation.BATCH_ROWS", 3)
    collection = filled(store, owner_key)
    name, wanted = collection.name, texts(collection)
    kills = 0
    # Each life is long enough for one batch, never for all.
    while killed_at(45, postgres.user, lambda own: rotate(own, name, owner_key)) == KILLED:
        kills += 1
        assert kills < 30
    after = Collection.open(store, name, owner_key)
    assert kills >= 2
    assert after.snapshot().epoch == 2
    assert texts(after) == wanted
    assert after.verify().ok


def test_an_ingest_killed_at_any_point_ends_like_an_undisturbed_one(
    postgres: Postgres,
    store: PostgresStore,
    owner_key: MasterKey,
) -> None:
    undisturbed = filled(store, owner_key)
    ingest(undisturbed)
    wanted = texts(undisturbed)
    killed, sequences = 0, set()
    for count in range(1, 400):
        collection = filled(store, owner_key)
        name = collection.name
        outcome = killed_at(
            count,
            postgres.user,
            lambda own, name=name: ingest(Collection.open(own, name, owner_key)),
        )
        # The last committed state, whole.
        assert collection.verify().ok, count
        sequences.add(collection.snapshot().sequence)
        if outcome == DONE:
            break
        killed += 1
        ingest(Collection.open(store, name, owner_key))
        assert texts(collection) == wanted
        report = collection.verify()
        assert (report.ok, report.rows) == (True, undisturbed.snapshot().rows)
        collection.drop()
    else:
        pytest.fail("the ingest never got to its end")
    logging.getLogger(__name__).info("%d kills", killed)
    assert killed >= 20
    assert sequences == {1, 2, 3}
