"""Collections whose vectors are sealed: nothing to compare outside, the same hits inside."""

from __future__ import annotations

import secrets
import time

import numpy as np
import pytest

from crag_core.collection import ChunkDraft, Collection, DocumentDraft
from crag_core.collection import memory as memories
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore
from support.database import DIMENSION, Postgres, Tables, draft, new_collection, vector_of


@pytest.fixture
def sealed(store: PostgresStore, owner_key: MasterKey) -> Collection:
    made = new_collection(store, owner_key, search_mode="enclave")
    made.put_documents([draft(made, f"doc-{number}.txt") for number in range(6)])
    return made


@pytest.fixture
def small_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index already for few rows."""
    monkeypatch.setattr(memories, "EXACT_ROWS", 8)


def many(collection: Collection, name: str, count: int, **fields: object) -> DocumentDraft:
    texts = [f"{name} {number}" for number in range(count)]
    return draft(collection, name, texts=texts, **fields)


def exact(texts: list[str], query: np.ndarray, k: int) -> list[str]:
    scores = [
        float(vector_of(text).astype(np.float16).astype(np.float32) @ query) for text in texts
    ]
    order = sorted(range(len(texts)), key=lambda at: -scores[at])
    return [texts[at] for at in order[:k]]


def test_the_database_holds_no_vector(sealed: Collection, postgres: Postgres) -> None:
    tables = Tables.of(postgres, sealed)
    found = tables.sql("SELECT emb, iv, version FROM {rows}")
    assert len(found) == 18
    assert {(vector, bytes(iv), version) for vector, iv, version in found} == {(None, b"", 2)}
    assert not sealed.ensure_index()
    indexes = tables.sql("SELECT indexdef FROM pg_indexes WHERE tablename = 'rows_{number}_1'")
    assert len(indexes) == 1
    assert "(id)" in indexes[0][0]


def test_both_modes_find_the_same_with_the_same_scores(
    sealed: Collection, collection: Collection
) -> None:
    for name in ("passage 1 of doc-3.txt in version 1", "something else"):
        query = vector_of(name)
        inside, outside = sealed.search(query, 7), collection.search(query, 7)
        assert [hit.text for hit in inside] == [hit.text for hit in outside]
        assert [hit.score for hit in inside] == pytest.approx(
            [hit.score for hit in outside], abs=2e-3
        )
        assert [(hit.source, hit.page, hit.heading) for hit in inside] == [
            (hit.source, hit.page, hit.heading) for hit in outside
        ]


def test_a_question_reaches_no_row_of_the_database(sealed: Collection, postgres: Postgres) -> None:
    loaded = sealed.load()
    tables = Tables.of(postgres, sealed)
    tables.sql("ALTER TABLE {rows} RENAME TO gone_{number}")
    hits = loaded.search(vector_of("passage 1 of doc-3.txt in version 1"), 1)
    assert [hit.text for hit in hits] == ["passage 1 of doc-3.txt in version 1"]


def test_rows_open_again_from_another_process_s_view(
    sealed: Collection, store: PostgresStore, owner_key: MasterKey
) -> None:
    again = Collection.open(store, sealed.name, owner_key)
    assert again.profile.search_mode == "enclave"
    assert again.verify().ok
    (chunk, *_) = again.chunks_of(next(again.documents()))
    assert chunk.text.startswith("passage 0")
    assert again.stats()["search_mode"] == "enclave"
    assert not again.ensure_index()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {rows} SET ct = set_byte(ct, 3, get_byte(ct, 3) # 1) WHERE id = {first}",
        "UPDATE {rows} SET version = 1 WHERE id = {first}",
        "UPDATE {rows} SET iv = '\\x000000000000000000000000' WHERE id = {first}",
        "UPDATE {rows} SET emb = array_fill(0.5, '{{24}}')::halfvec WHERE id = {first}",
        "DELETE FROM {rows} WHERE id = {first}",
    ],
)
def test_a_changed_row_is_refused_wherever_the_question_leads(
    sealed: Collection, postgres: Postgres, change: str
) -> None:
    tables = Tables.of(postgres, sealed)
    ((first,),) = tables.sql("SELECT min(id::text) FROM {rows}")
    tables.sql(change.replace("{first}", f"'{first}'"))
    with pytest.raises(IntegrityViolated, match=first):
        sealed.search(vector_of("anything"))
    with pytest.raises(IntegrityViolated, match=first):
        sealed.load()
    assert not sealed.verify().ok


def test_two_rows_exchanged_are_named_as_swapped(sealed: Collection, postgres: Postgres) -> None:
    tables = Tables.of(postgres, sealed)
    one, two = (str(each[0]) for each in tables.sql("SELECT id FROM {rows} LIMIT 2"))
    tables.sql(
        "UPDATE {rows} a SET ct = b.ct, nonce = b.nonce FROM {rows} b"
        " WHERE a.id IN (%s::uuid, %s::uuid) AND b.id IN (%s::uuid, %s::uuid) AND a.id <> b.id",
        *(one, two, one, two),
    )
    kinds = {violation.kind for violation in sealed.verify().violations}
    assert kinds == {"swapped"}


def test_a_new_snapshot_is_searched_and_an_old_row_is_not(
    sealed: Collection, small_index: None
) -> None:
    loaded = sealed.load()
    assert loaded._verified.memory is not None
    assert loaded._verified.memory.index is not None
    sealed.put_documents([draft(sealed, "doc-3.txt", version="2"), many(sealed, "new", 9)])
    sealed.remove_documents([sealed.document_id("doc-4.txt")])
    texts = [f"passage {i} of doc-{n}.txt in version 1" for n in (0, 1, 2, 5) for i in range(3)]
    texts += [f"passage {i} of doc-3.txt in version 2" for i in range(3)]
    texts += [f"new {i}" for i in range(9)]
    for question in ("new 4", "passage 1 of doc-3.txt in version 1", "anything"):
        query = vector_of(question)
        for reader in (loaded, sealed):
            assert [hit.text for hit in reader.search(query, 5)] == exact(texts, query, 5)
    assert loaded.snapshot.sequence == 3


def test_an_index_grows_by_copies_and_is_made_anew_when_much_of_it_died(
    store: PostgresStore, owner_key: MasterKey, small_index: None
) -> None:
    made = new_collection(store, owner_key, search_mode="enclave")
    made.put_documents([many(made, "base", 60)])
    loaded = made.load()
    first = loaded._verified.memory
    made.put_documents([many(made, "more", 5)])
    loaded.search(vector_of("x"))
    second = loaded._verified.memory
    assert first is not None and first.index is not None
    assert second is not None and second.index is not None
    assert (len(first.index), len(second.index)) == (60, 65)
    assert second.rows[:60] == first.rows
    made.remove_documents([made.document_id("base")])
    made.put_documents([many(made, "third", 12)])
    query = vector_of("third 7")
    texts = [f"more {i}" for i in range(5)] + [f"third {i}" for i in range(12)]
    assert [hit.text for hit in loaded.search(query, 4)] == exact(texts, query, 4)
    third = loaded._verified.memory
    assert third is not None and len(third.rows) == 17 and third.alive.all()


def test_labels_and_expiry_filter_the_index_too(
    store: PostgresStore,
    owner_key: MasterKey,
    small_index: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = new_collection(store, owner_key, search_mode="enclave")
    soon = int(time.time()) + 1000
    made.put_documents(
        [
            many(made, "red", 20, labels={"colour": "red"}),
            many(made, "blue", 20, labels={"colour": "blue", "size": "s"}),
            many(made, "brief", 20, labels={"colour": "blue"}, expires=soon),
        ]
    )
    loaded = made.load()
    query = vector_of("red 3")
    blue = [f"{name} {i}" for name in ("blue", "brief") for i in range(20)]
    for reader in (made, loaded):
        found = reader.search(query, 6, filter={"colour": "blue"})
        assert [hit.text for hit in found] == exact(blue, query, 6)
        both = reader.search(query, 20, filter={"colour": "blue", "size": "s"})
        assert {hit.source for hit in both} == {"blue"}
        assert reader.search(query, 3, filter={"colour": "green"}) == []
    monkeypatch.setattr(time, "time", lambda: soon)
    for reader in (made, loaded):
        found = reader.search(query, 20, filter={"colour": "blue"})
        assert {hit.source for hit in found} == {"blue"}
        assert "brief" not in {hit.source for hit in reader.search(query, 60)}


def test_recall_of_the_index_is_nearly_that_of_comparing_everything(
    store: PostgresStore, owner_key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"c-{secrets.token_hex(8)}"
    made = Collection.create(
        store, name, owner_key, dimension=64, embedder="x", search_mode="enclave"
    )
    rng = np.random.default_rng(7)
    centres = rng.standard_normal((40, 64))
    points = centres[rng.integers(0, 40, 3000)] + 0.7 * rng.standard_normal((3000, 64))
    points = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    chunks = [ChunkDraft(str(number), point) for number, point in enumerate(points)]
    made.put_documents([DocumentDraft("all", made.content_tag(b"all"), chunks)])
    monkeypatch.setattr(memories, "EXACT_ROWS", 1000)
    loaded = made.load()
    assert loaded._verified.memory is not None and loaded._verified.memory.index is not None
    found = 0
    for query in points[::30] + 0.02 * rng.standard_normal((100, 64)).astype(np.float32):
        unit = query / np.linalg.norm(query)
        truth = {hit.text for hit in made.search(unit, 10)}
        found += len(truth & {hit.text for hit in loaded.search(unit, 10)})
    assert found / 1000 >= 0.99


def test_what_is_no_vector_of_the_collection_is_refused(sealed: Collection) -> None:
    with pytest.raises(BadInput, match="norm"):
        sealed.search(np.ones(DIMENSION, dtype=np.float32))
    with pytest.raises(BadInput):
        sealed.search(vector_of("x", 7))
    with pytest.raises(BadInput):
        sealed.search(vector_of("x"), k=0)
    bad = DocumentDraft(
        "bad", sealed.content_tag(b"bad"), [ChunkDraft("t", np.zeros(DIMENSION, np.float32))]
    )
    with pytest.raises(BadInput, match="norm"):
        sealed.put_documents([bad])
    assert sealed.verify().ok
