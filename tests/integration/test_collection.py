"""A collection in a real PostgreSQL: what is written is found, listed, changed and removed."""

from __future__ import annotations

import time
import uuid

import numpy as np
import pytest

from crag_core.collection import ChunkDraft, Collection, DocumentDraft
from crag_core.errors import BadInput, CragError, IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore
from support.database import DIMENSION, draft, new_collection, vector_of


def test_a_stored_passage_is_found_by_its_own_vector_with_score_one(collection: Collection) -> None:
    text = "passage 1 of doc-3.txt in version 1"
    best = collection.search(vector_of(text), k=3)
    assert [hit.rank for hit in best] == [1, 2, 3]
    first = best[0]
    assert (first.text, first.source, first.page, first.heading, first.index) == (
        text, "doc-3.txt", 2, "Heading 1", 1,
    )  # fmt: skip
    assert first.score == pytest.approx(1.0, abs=2e-3)
    assert first.document_id == str(uuid.UUID(bytes=collection.document_id("doc-3.txt")))
    assert best[0].score > best[1].score >= best[2].score


def test_the_order_of_hits_is_that_of_the_plaintext(collection: Collection) -> None:
    query = vector_of("a question")
    texts = [f"passage {i} of doc-{d}.txt in version 1" for d in range(6) for i in range(3)]
    exact = sorted(texts, key=lambda text: -float(vector_of(text) @ query))
    assert [hit.text for hit in collection.search(query, k=18)] == exact


def test_the_second_put_changes_nothing_and_makes_no_snapshot(collection: Collection) -> None:
    before = collection.snapshot()
    results = collection.put_documents([draft(collection, "doc-0.txt")])
    assert [(each.status, each.rows) for each in results] == [("unchanged", 3)]
    assert collection.snapshot() == before


def test_a_changed_document_replaces_its_rows_in_one_transaction(collection: Collection) -> None:
    before = collection.snapshot()
    kept = collection.find("doc-2.txt")
    assert kept is not None
    new = draft(collection, "doc-2.txt", version="2", chunks=5)
    results = collection.put_documents([draft(collection, "doc-1.txt"), new])
    assert [each.status for each in results] == ["unchanged", "updated"]
    after = collection.snapshot()
    assert (after.sequence, after.rows, after.documents) == (before.sequence + 1, 20, 6)
    assert after.previous == before.digest
    found = collection.find("doc-2.txt")
    assert found is not None
    assert found.chunks == 5
    assert found.added == kept.added
    assert not set(found.rows) & set(kept.rows)
    assert [chunk.text for chunk in collection.chunks_of(found)] == [
        chunk.text for chunk in new.chunks
    ]
    assert collection.verify().ok


def test_labels_alone_make_a_document_new_and_tag_its_rows(collection: Collection) -> None:
    changed = draft(collection, "doc-0.txt", labels={"department": "law", "级别": "机密"})
    assert collection.put_documents([changed])[0].status == "updated"
    found = collection.find("doc-0.txt")
    assert found is not None
    assert dict(found.labels) == {"department": "law", "级别": "机密"}
    assert collection.put_documents([changed])[0].status == "unchanged"
    assert collection.verify().ok


def test_removed_documents_take_their_rows_with_them(collection: Collection) -> None:
    ids = [collection.document_id("doc-1.txt"), collection.document_id("doc-4.txt")]
    assert collection.remove_documents([ids[0], str(uuid.UUID(bytes=ids[1]))]) == 6
    assert sorted(info.source for info in collection.documents()) == [
        "doc-0.txt", "doc-2.txt", "doc-3.txt", "doc-5.txt",
    ]  # fmt: skip
    assert collection.find("doc-1.txt") is None
    assert all(
        hit.source not in ("doc-1.txt", "doc-4.txt")
        for hit in collection.search(vector_of("passage 0 of doc-1.txt in version 1"), k=12)
    )
    report = collection.verify()
    assert (report.ok, report.rows, report.documents) == (True, 12, 4)


def test_removing_an_unknown_document_changes_nothing(collection: Collection) -> None:
    before = collection.snapshot()
    with pytest.raises(BadInput, match="no document"):
        collection.remove_documents([collection.document_id("doc-0.txt"), bytes(16)])
    with pytest.raises(BadInput, match="no id"):
        collection.remove_documents(["doc-0.txt"])
    assert collection.snapshot() == before


def test_a_removed_document_can_come_back(collection: Collection) -> None:
    collection.remove_documents([collection.document_id("doc-0.txt")])
    assert collection.put_documents([draft(collection, "doc-0.txt")])[0].status == "added"
    assert collection.verify().ok


def test_expired_rows_are_not_found_but_still_verified(collection: Collection) -> None:
    now = int(time.time())
    collection.put_documents(
        [
            draft(collection, "old.txt", expires=now - 1),
            draft(collection, "new.txt", expires=now + 3600),
        ]
    )
    query = vector_of("passage 0 of old.txt in version 1")
    sources = {hit.source for hit in collection.search(query, k=100)}
    assert "old.txt" not in sources
    assert "new.txt" in sources
    assert collection.verify().ok


def test_metadata_and_any_unicode_survive(store: PostgresStore, owner_key: MasterKey) -> None:
    collection = new_collection(store, owner_key)
    text = "数字化转型 \x00 مرحبا 🧪 \n" + "长" * 5000
    chunk = ChunkDraft(
        text, vector_of(text), page=None, heading="标题", metadata={"a": [1, None, "ü"]}
    )
    collection.put_documents([DocumentDraft("档案/报告.txt", b"t" * 32, [chunk])])
    (hit,) = collection.search(vector_of(text), k=1)
    assert (hit.text, hit.heading, hit.page) == (text, "标题", None)
    assert dict(hit.metadata) == {"a": [1, None, "ü"]}
    assert collection.verify().ok


def test_an_empty_collection_answers_and_verifies(
    store: PostgresStore, owner_key: MasterKey
) -> None:
    collection = new_collection(store, owner_key)
    assert collection.search(vector_of("anything")) == []
    assert list(collection.documents()) == []
    report = collection.verify()
    assert (report.ok, report.rows, report.documents) == (True, 0, 0)
    assert report.snapshot is not None
    assert report.snapshot.sequence == 0
    assert collection.put_documents([]) == []


def test_a_document_without_chunks_is_kept(collection: Collection) -> None:
    collection.put_documents([DocumentDraft("empty.txt", b"e" * 32, [])])
    found = collection.find("empty.txt")
    assert found is not None
    assert found.chunks == 0
    assert collection.verify().ok


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(DIMENSION, dtype=np.float32),
        np.full(DIMENSION, np.nan, dtype=np.float32),
        vector_of("x", DIMENSION + 1),
        vector_of("x") * np.float32(3),
    ],
    ids=["zero", "nan", "dimension", "norm"],
)
def test_a_vector_that_cannot_be_stored_is_refused_and_nothing_is_written(
    collection: Collection, vector: np.ndarray[tuple[int], np.dtype[np.float32]]
) -> None:
    before = collection.snapshot()
    good = draft(collection, "good.txt")
    with pytest.raises(BadInput):
        collection.put_documents([good, DocumentDraft("bad", b"b" * 32, [ChunkDraft("x", vector)])])
    with pytest.raises(BadInput):
        collection.search(vector)
    assert collection.snapshot() == before
    assert collection.find("good.txt") is None


def test_texts_without_utf8_form_are_refused(collection: Collection) -> None:
    half = "\udcff"
    for bad in (
        DocumentDraft(f"name{half}", b"b" * 32, []),
        DocumentDraft("text", b"b" * 32, [ChunkDraft(half, vector_of("x"))]),
        DocumentDraft("heading", b"b" * 32, [ChunkDraft("x", vector_of("x"), heading=half)]),
        DocumentDraft("label", b"b" * 32, [], labels={"a": half}),
        DocumentDraft("json", b"b" * 32, [ChunkDraft("x", vector_of("x"), metadata={"a": b"b"})]),
    ):
        with pytest.raises(BadInput):
            collection.put_documents([bad])
    assert collection.verify().ok


def test_two_drafts_with_one_source_are_refused(collection: Collection) -> None:
    with pytest.raises(BadInput, match=r"doc-9\.txt"):
        collection.put_documents([draft(collection, "doc-9.txt"), draft(collection, "doc-9.txt")])


@pytest.mark.parametrize(("k", "fetch"), [(0, None), (1001, None), (5, 4), (5, 1001)])
def test_impossible_numbers_of_hits_are_refused(
    collection: Collection, k: int, fetch: int | None
) -> None:
    with pytest.raises(BadInput):
        collection.search(vector_of("x"), k=k, fetch=fetch)


def test_opening_gives_the_profile_and_the_sealed_half(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    opened = Collection.open(store, collection.name, owner_key)
    assert opened.profile == collection.profile
    assert opened.private["embedder"] == "test-embedder"
    assert opened.stats()["rows"] == 18
    for pinned in (owner_key.check_value(), opened.profile.check_value):
        Collection.open(store, collection.name, owner_key, check_value=pinned)


def test_another_key_is_refused_with_exit_12(store: PostgresStore, collection: Collection) -> None:
    with pytest.raises(IntegrityViolated) as refused:
        Collection.open(store, collection.name, MasterKey.generate())
    assert refused.value.code == "wrong-key"


def test_another_pinned_check_value_is_refused(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    other = MasterKey.generate().check_value()
    with pytest.raises(IntegrityViolated, match="pinned"):
        Collection.open(store, collection.name, owner_key, check_value=other)


def test_names_are_checked_and_unknown_collections_named(
    store: PostgresStore, owner_key: MasterKey
) -> None:
    for name in ("", "../x", "a b", "é", "x" * 64, "-x"):
        with pytest.raises(BadInput, match="name of a collection"):
            Collection.open(store, name, owner_key)
    with pytest.raises(BadInput, match="no-such"):
        Collection.open(store, "no-such", owner_key)
    assert not Collection.exists(store, "no-such")


def test_a_taken_name_is_refused(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    with pytest.raises(CragError) as refused:
        Collection.create(store, collection.name, owner_key, dimension=3, embedder="x")
    assert refused.value.code == "collection-exists"
    assert collection.verify().ok


def test_parameters_out_of_range_leave_no_collection(
    store: PostgresStore, owner_key: MasterKey
) -> None:
    with pytest.raises(BadInput):
        Collection.create(store, "never", owner_key, dimension=0, embedder="x")
    with pytest.raises(BadInput):
        Collection.create(store, "never", owner_key, dimension=3, embedder="x", search_mode="?")
    assert not Collection.exists(store, "never")


def test_a_dropped_collection_leaves_no_table(store: PostgresStore, collection: Collection) -> None:
    assert collection.name in store.collections()
    collection.drop()
    assert collection.name not in store.collections()
    with pytest.raises(IntegrityViolated):
        collection.search(vector_of("x"))


def test_a_small_collection_gets_no_index_and_a_made_index_finds_the_same(
    store: PostgresStore, collection: Collection
) -> None:
    assert not collection.ensure_index()
    query = vector_of("a question")
    exact = [hit.chunk_id for hit in collection.search(query)]
    generation = collection._context.generation
    assert store.index(generation)
    assert not store.index(generation)
    assert collection.stats()["indexed"]
    assert [hit.chunk_id for hit in collection.search(query)] == exact


def test_ids_are_keyed(store: PostgresStore, owner_key: MasterKey) -> None:
    one, two = new_collection(store, owner_key), new_collection(store, owner_key)
    assert one.document_id("a.txt") == one.document_id("a.txt")
    assert one.document_id("a.txt") != two.document_id("a.txt")
    assert one.content_tag(b"x") != two.content_tag(b"x")
