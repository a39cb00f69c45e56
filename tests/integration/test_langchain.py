"""LangChain's own tests of a vector store, unmodified, and what they do not ask."""

from __future__ import annotations

import math
import secrets
import time
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.langchain import EncryptedVectorStore
from crag_core.store.postgres import PostgresStore
from support.database import Postgres, Tables, draft, new_collection

EMBEDDING = DeterministicFakeEmbedding(size=24)


def opened(store: PostgresStore, key: MasterKey, mode: str, **given: Any) -> EncryptedVectorStore:
    name = f"lc-{secrets.token_hex(8)}"
    embedding = given.pop("embedding", EMBEDDING)
    return EncryptedVectorStore.open(store, name, key, embedding, search_mode=mode, **given)


class TestDatabaseMode(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, store: PostgresStore, owner_key: MasterKey) -> VectorStore:
        return opened(store, owner_key, "database", embedding=self.get_embeddings())


class TestEnclaveMode(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, store: PostgresStore, owner_key: MasterKey) -> VectorStore:
        return opened(store, owner_key, "enclave", embedding=self.get_embeddings())


@pytest.fixture(params=["database", "enclave"])
def vectors(
    request: pytest.FixtureRequest, store: PostgresStore, owner_key: MasterKey
) -> EncryptedVectorStore:
    made = opened(store, owner_key, request.param)
    made.add_texts(
        ["alpha", "beta", "gamma", "delta"],
        [
            {"team": "sales", "year": 2026},
            {"team": "sales", "year": 2025, "draft": True},
            {"team": "law", "year": 2026, "tags": ["x"]},
            {"team": "law", "none": None, "ratio": 0.5},
        ],
        ids=["a", "b", "c", "d"],
    )
    return made


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"team": "sales"}, {"a", "b"}),
        ({"team": "law", "year": 2026}, {"c"}),
        ({"draft": True}, {"b"}),
        ({"none": None}, {"d"}),
        ({"ratio": 0.5}, {"d"}),
        ({"team": "Sales"}, set()),
        ({}, {"a", "b", "c", "d"}),
    ],
)
def test_a_filter_compares_every_plain_value(
    vectors: EncryptedVectorStore, wanted: dict[str, Any], found: set[str]
) -> None:
    hits = vectors.similarity_search("alpha", k=10, filter=wanted)
    assert {hit.id for hit in hits} == found


def test_a_filter_by_a_list_is_refused(vectors: EncryptedVectorStore) -> None:
    with pytest.raises(BadInput, match="filter"):
        vectors.similarity_search("alpha", filter={"tags": ["x"]})


async def test_async_and_sync_agree(vectors: EncryptedVectorStore) -> None:
    wanted = {"team": "law"}
    assert await vectors.asimilarity_search("gamma", 3, filter=wanted) == (
        vectors.similarity_search("gamma", 3, filter=wanted)
    )
    assert await vectors.aadd_texts(["epsilon"], [{"team": "law"}], ids=["e"]) == ["e"]
    ((document, score),) = await vectors.asimilarity_search_with_score("epsilon", 1)
    assert (document.id, document.metadata) == ("e", {"team": "law"})
    assert score == pytest.approx(1.0, abs=1e-2)
    vector = EMBEDDING.embed_query("epsilon")
    assert [each.id for each in await vectors.asimilarity_search_by_vector(vector, 1)] == ["e"]
    await vectors.adelete(["e", "not there"])
    assert await vectors.aget_by_ids(["e"]) == []


def test_a_retriever_filters_thresholds_and_spreads(vectors: EncryptedVectorStore) -> None:
    plain = vectors.as_retriever(search_kwargs={"k": 5, "filter": {"team": "sales"}})
    assert {each.id for each in plain.invoke("alpha")} == {"a", "b"}
    strict = vectors.as_retriever(
        search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.9}
    )
    assert [each.id for each in strict.invoke("delta")] == ["d"]
    vectors.add_texts(["alpha", "alpha"], ids=["a2", "a3"])
    near = {each.id for each in vectors.similarity_search("alpha", k=3)}
    assert near == {"a", "a2", "a3"}
    spread = vectors.as_retriever(search_type="mmr", search_kwargs={"k": 3, "lambda_mult": 0.1})
    found = [each.id for each in spread.invoke("alpha")]
    assert len(found) == 3
    assert len({"a", "a2", "a3"} & set(found)) == 1


def test_nothing_of_it_is_in_the_database(
    vectors: EncryptedVectorStore, postgres: Postgres
) -> None:
    tables = Tables.of(postgres, vectors.collection)
    whole = b"".join(
        bytes(value) if isinstance(value, bytes | memoryview) else str(value).encode()
        for query in ("TABLE {rows}", "TABLE {documents}", "TABLE crag.collections")
        for record in tables.sql(query)
        for value in record
    )
    for word in (b"alpha", b"sales", b"team", b"Deterministic"):
        assert word not in whole


def test_the_same_text_is_not_written_twice(vectors: EncryptedVectorStore) -> None:
    before = vectors.collection.snapshot()
    vectors.add_texts(["alpha"], [{"team": "sales", "year": 2026}], ids=["a"])
    assert vectors.collection.snapshot() == before
    vectors.add_texts(["alpha", "again"], ids=["a", "a"])
    assert [each.page_content for each in vectors.get_by_ids(["a"])] == ["again"]


def test_what_expired_is_not_found(
    vectors: EncryptedVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    soon = int(time.time()) + 500
    vectors.add_texts(["brief"], [{"team": "law"}], ids=["brief"], expires=soon)
    assert vectors.similarity_search("brief", 1)[0].id == "brief"
    monkeypatch.setattr(time, "time", lambda: soon + 1)
    assert "brief" not in {each.id for each in vectors.similarity_search("brief", 10)}
    assert vectors.get_by_ids(["brief", "a"])[0].id == "a"
    assert vectors.collection.purge() == (1, 1)
    assert vectors.collection.verify().ok


def test_ingested_documents_are_found_with_their_place(
    store: PostgresStore, owner_key: MasterKey
) -> None:
    made = new_collection(store, owner_key)
    made.put_documents([draft(made, "report.md", labels={"team": "law"})])
    found = EncryptedVectorStore(made, EMBEDDING).similarity_search(
        "x", k=2, filter={"team": "law"}
    )
    assert [each.metadata["source"] for each in found] == ["report.md"] * 2
    assert {each.metadata["page"] for each in found} <= {1, 2, 3}


def test_a_changed_row_is_refused(vectors: EncryptedVectorStore, postgres: Postgres) -> None:
    tables = Tables.of(postgres, vectors.collection)
    tables.sql("UPDATE {rows} SET tags = '{{}}'")
    with pytest.raises(IntegrityViolated):
        vectors.similarity_search("alpha")


def test_it_opens_again_only_with_the_same_key(
    vectors: EncryptedVectorStore, store: PostgresStore, owner_key: MasterKey
) -> None:
    name = vectors.collection.name
    again = EncryptedVectorStore.open(store, name, owner_key, EMBEDDING)
    assert again.get_by_ids(["b"])[0].page_content == "beta"
    with pytest.raises(IntegrityViolated):
        EncryptedVectorStore.open(store, name, MasterKey.generate(), EMBEDDING)


def test_from_documents_needs_database_and_key(store: PostgresStore, owner_key: MasterKey) -> None:
    documents = [Document(page_content="one", metadata={"n": 1})]
    with pytest.raises(BadInput):
        EncryptedVectorStore.from_documents(documents, EMBEDDING)
    made = EncryptedVectorStore.from_documents(
        documents,
        EMBEDDING,
        store=store,
        master=owner_key,
        collection_name=f"lc-{secrets.token_hex(8)}",
    )
    assert made.similarity_search("one")[0].metadata == {"n": 1}
    made.delete()
    assert made.similarity_search("one") == []


@pytest.mark.parametrize(
    "given",
    [
        {"metadatas": [{"x": math.nan}]},
        {"metadatas": [{"x": object()}]},
        {"metadatas": [{}, {}]},
        {"ids": ["1", "2"]},
    ],
)
def test_what_cannot_be_stored_is_refused_whole(
    vectors: EncryptedVectorStore, given: dict[str, Any]
) -> None:
    before = vectors.collection.snapshot()
    with pytest.raises(BadInput):
        vectors.add_texts(["text"], **given)
    assert vectors.collection.snapshot() == before
