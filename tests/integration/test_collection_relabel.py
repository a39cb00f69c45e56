"""Other labels and dates without content: rows sealed anew around the vectors that are stored."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from crag_core.collection import Collection, LabelDraft
from crag_core.collection.rotation import rotate
from crag_core.collection.translation import row_points
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.store.interface import StoredRow
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, Tables, draft, new_collection, vector_of


@pytest.fixture(params=["database", "enclave"])
def labelled(
    request: pytest.FixtureRequest, store: PostgresStore, owner_key: MasterKey
) -> Collection:
    made = new_collection(store, owner_key, search_mode=request.param)
    made.put_documents(
        [
            draft(made, "red.txt", labels={"colour": "red"}),
            draft(made, "blue.txt", labels={"colour": "blue"}),
            draft(made, "empty.txt", texts=[], chunks=0),
        ]
    )
    return made


def other(collection: Collection, source: str, **fields: Any) -> LabelDraft:
    found = collection.find(source)
    assert found is not None
    return LabelDraft(source, found.content_tag, **fields)


def stored(store: PostgresStore, collection: Collection) -> dict[bytes, StoredRow]:
    with store.reader() as reader:
        batches = list(reader.rows(collection._context.generation))
    return {row.id: row for batch in batches for row in batch}


def sources(collection: Collection, **labels: str) -> set[str]:
    return {hit.source for hit in collection.search(vector_of("x"), 50, filter=labels)}


def test_only_the_seal_of_the_rows_is_new(labelled: Collection, store: PostgresStore) -> None:
    before, rows = labelled.find("red.txt"), stored(store, labelled)
    assert before is not None
    hits = labelled.search(vector_of("x"), 50)
    texts, sequence = labelled.chunks_of(before), labelled.snapshot().sequence
    soon = int(time.time()) + 1000
    (result,) = labelled.relabel(
        [other(labelled, "red.txt", labels={"colour": "green", "team": "a"}, expires=soon)]
    )
    assert (result.source, result.status, result.rows) == ("red.txt", "updated", 3)
    found = labelled.find("red.txt")
    assert found is not None
    assert (found.labels, found.expires) == ({"colour": "green", "team": "a"}, soon)
    assert (found.added, found.content_tag, found.rows) == (
        before.added, before.content_tag, before.rows,
    )  # fmt: skip
    assert labelled.chunks_of(found) == texts
    assert labelled.snapshot().sequence == sequence + 1
    own = {identity for identity, _ in found.members}
    for identity, row in stored(store, labelled).items():
        old = rows[identity]
        assert (row.iv, row.vector, row.version, row.epoch) == old[3:5] + old[1:3]
        if identity in own:
            assert (row.nonce, row.ciphertext) != (old.nonce, old.ciphertext)
            assert (len(row.tags), row.expires) == (2, soon)
        else:
            assert row == old
    assert sources(labelled, colour="red") == set()
    assert sources(labelled, colour="green", team="a") == {"red.txt"}
    again = labelled.search(vector_of("x"), 50)
    assert [hit.text for hit in again] == [hit.text for hit in hits]
    # The matrix product of mode enclave rounds by the order of the rows.
    scores = [[hit.score for hit in found] for found in (again, hits)]
    np.testing.assert_allclose(*scores, atol=1e-6)
    assert labelled.verify().ok


def test_a_loaded_collection_follows(labelled: Collection) -> None:
    loaded = labelled.load()
    labelled.relabel([other(labelled, "blue.txt", labels={"colour": "red"})])
    found = loaded.search(vector_of("x"), 50, filter={"colour": "red"})
    assert {hit.source for hit in found} == {"red.txt", "blue.txt"}


def test_what_is_gone_or_has_other_content_is_stale_and_what_fits_is_left_alone(
    labelled: Collection,
) -> None:
    tag = other(labelled, "red.txt").content_tag
    labelled.put_documents([draft(labelled, "red.txt", version="2", labels={"colour": "red"})])
    before = labelled.snapshot()
    results = labelled.relabel(
        [
            LabelDraft("red.txt", tag, {"colour": "green"}),
            LabelDraft("nowhere.txt", tag),
            other(labelled, "blue.txt", labels={"colour": "blue"}),
        ]
    )
    assert [(each.status, each.rows) for each in results] == [
        ("stale", 0), ("stale", 0), ("unchanged", 3),
    ]  # fmt: skip
    assert labelled.snapshot() == before
    assert sources(labelled, colour="green") == set()


def test_a_document_without_rows_has_labels_too(labelled: Collection) -> None:
    (result,) = labelled.relabel([other(labelled, "empty.txt", labels={"a": "b"})])
    assert (result.status, result.rows) == ("updated", 0)
    found = labelled.find("empty.txt")
    assert found is not None
    assert found.labels == {"a": "b"}
    assert labelled.verify().ok


def test_a_label_that_is_no_text_and_one_source_twice_are_refused(labelled: Collection) -> None:
    before = labelled.snapshot()
    with pytest.raises(BadInput, match="label"):
        labelled.relabel([other(labelled, "red.txt", labels={"a": "\ud800"})])
    with pytest.raises(BadInput, match="Two documents"):
        labelled.relabel([other(labelled, "red.txt")] * 2)
    assert labelled.snapshot() == before
    assert labelled.verify().ok


def test_a_changed_row_is_not_sealed_anew(
    labelled: Collection, store: PostgresStore, postgres: Postgres
) -> None:
    tables = Tables.of(postgres, labelled)
    tables.sql("UPDATE {rows} SET expires = 5 WHERE cardinality(tags) = 1")
    before = stored(store, labelled)
    with pytest.raises(IntegrityViolated, match="was changed"):
        labelled.relabel([other(labelled, "red.txt", labels={"colour": "green"})])
    assert stored(store, labelled) == before


def test_rows_with_the_old_labels_put_back_are_found_out(
    labelled: Collection, postgres: Postgres
) -> None:
    tables = Tables.of(postgres, labelled)
    tables.save()
    labelled.relabel([other(labelled, "red.txt", labels={"secret": "yes"})])
    tables.restore(snapshot=False)
    found = labelled.verify()
    assert not found.ok
    assert {each.kind for each in found.violations} == {"rolled_back"}


def test_rotations_before_and_after_carry_the_same_vectors(
    labelled: Collection, store: PostgresStore, owner_key: MasterKey
) -> None:
    first = points(store, labelled)
    rotate(store, labelled.name, owner_key)
    turned = Collection.open(store, labelled.name, owner_key)
    turned.relabel([other(turned, "red.txt", labels={"colour": "green"})])
    assert points(store, turned) == first
    rotate(store, labelled.name, owner_key)
    last = Collection.open(store, labelled.name, owner_key)
    assert points(store, last) == first
    assert sources(last, colour="green") == {"red.txt"}
    assert last.verify().ok


def points(store: PostgresStore, collection: Collection) -> set[bytes]:
    rows = list(stored(store, collection).values())
    return {np.ascontiguousarray(each).tobytes() for each in row_points(collection._context, rows)}
