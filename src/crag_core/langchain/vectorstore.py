"""The vector store: LangChain's interface on one side, a collection on the other."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables.config import run_in_executor
from langchain_core.vectorstores import VectorStore

from crag_core.collection import ChunkDraft, Collection, DocumentDraft
from crag_core.errors import BadInput
from crag_core.keys import lp
from crag_core.langchain.mapping import (
    MARK,
    canonical,
    labels_of,
    spread,
    to_document,
    units,
    utf8,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crag_core.keys import MasterKey
    from crag_core.store.interface import Store

FINGERPRINT = b"crag/langchain/v1"


class EncryptedVectorStore(VectorStore):
    """Texts, metadata and vectors sealed in a collection of either search mode.

    Each text is a document of its own whose source is its id. Every metadata entry that is a text,
    number, true, false or null can be filtered by; all metadata is sealed, and filtered by keyed
    tags. What ``crag-owner ingest`` put into the same collection is found as well.

    Args:
        collection: an open one.
        embedding: makes the vectors; any length, they are brought to unit norm.
    """

    def __init__(self, collection: Collection, embedding: Embeddings) -> None:
        self.collection = collection
        self._embedding = embedding

    @classmethod
    def open(
        cls,
        store: Store,
        name: str,
        master: MasterKey,
        embedding: Embeddings,
        **parameters: Any,
    ) -> EncryptedVectorStore:
        """The store over the collection of that name, which is made if there is none.

        Args:
            parameters: of a new collection, as for :meth:`Collection.create`; ``dimension`` is
                found by embedding a word if it is not given.

        Raises:
            IntegrityViolated: the key is not the collection's, or it was changed.
            Unreachable: the database does not answer.
        """
        if Collection.exists(store, name):
            return cls(Collection.open(store, name, master), embedding)
        if "dimension" not in parameters:
            parameters["dimension"] = len(embedding.embed_query("dimension"))
        parameters.setdefault("embedder", f"langchain:{type(embedding).__name__}")
        return cls(Collection.create(store, name, master, **parameters), embedding)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        store: Store | None = None,
        master: MasterKey | None = None,
        collection_name: str = "langchain",
        **kwargs: Any,
    ) -> EncryptedVectorStore:
        """:meth:`open`, then :meth:`add_texts`; ``store`` and ``master`` are needed.

        Raises:
            BadInput: one of them is missing.
        """
        if store is None or master is None:
            raise BadInput(
                "An encrypted vector store needs a database and a master key.",
                hint="Pass store=open_store(...) and master=MasterKey.from_bytes(...).",
            )
        made = cls.open(store, collection_name, master, embedding, **kwargs)
        made.add_texts(texts, metadatas, ids=ids)
        return made

    @property
    def embeddings(self) -> Embeddings:
        """What makes the vectors."""
        return self._embedding

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        expires: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embed, encrypt and store texts in one transaction; a known id is replaced.

        Args:
            metadatas: one for each text; JSON values.
            ids: one for each text; random ones where missing.
            expires: seconds since 1970 UTC after which they are not found any more.

        Raises:
            BadInput: metadata or ids of another number, metadata without a JSON form, or vectors
                that are none of the collection.
            IntegrityViolated: what is in the database was changed; nothing is written.
            Unreachable: the database does not answer.
        """
        given = list(texts)
        return self._put(given, self._embedding.embed_documents(given), metadatas, ids, expires)

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        expires: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """As :meth:`add_texts`."""
        given = list(texts)
        vectors = await self._embedding.aembed_documents(given)
        return await run_in_executor(None, self._put, given, vectors, metadatas, ids, expires)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        """Delete the texts with these ids, or all documents of the collection if None.

        Ids that are not there are left out. True once they are gone.
        """
        if ids is None:
            gone = [document.id for document in self.collection.documents()]
        else:
            gone = [found.id for found in self.collection.find_many(ids).values()]
        if gone:
            self.collection.remove_documents(gone)
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The texts with these ids that are there, in the order of ``ids``."""
        found = self.collection.find_many(ids)
        wanted = [found[each] for each in dict.fromkeys(ids) if each in found]
        rows = self.collection.chunks_of_many(wanted)
        return [
            to_document(chunk)
            for info in wanted
            for chunk in rows.get(info.id, [])
            if MARK in chunk.metadata
        ]

    def similarity_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The ``k`` texts nearest to ``query``.

        Args:
            filter: metadata entries that each of them has.
        """
        found = self.similarity_search_with_score(query, k, filter)
        return [document for document, _ in found]

    async def asimilarity_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """As :meth:`similarity_search`."""
        found = await self.asimilarity_search_with_score(query, k, filter)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The same, each with its cosine to the question, from -1 to 1; higher is nearer."""
        return self._search(self._embedding.embed_query(query), k, filter)

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """As :meth:`similarity_search_with_score`."""
        vector = await self._embedding.aembed_query(query)
        return await run_in_executor(None, self._search, vector, k, filter)

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The ``k`` texts nearest to a vector."""
        return [document for document, _ in self._search(embedding, k, filter)]

    async def asimilarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """As :meth:`similarity_search_by_vector`."""
        found = await run_in_executor(None, self._search, embedding, k, filter)
        return [document for document, _ in found]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """``k`` of the ``fetch_k`` nearest texts, near to the question and unlike each other.

        The texts found are embedded again: their vectors do not leave the collection.
        """
        vector = self._embedding.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(
            vector, k, fetch_k, lambda_mult, filter=filter
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """As :meth:`max_marginal_relevance_search`, for a vector."""
        found = self._search(embedding, max(k, fetch_k), filter)
        if not found:
            return []
        texts = [document.page_content for document, _ in found]
        vectors = units(self._embedding.embed_documents(texts))
        order = spread(units([embedding])[0], vectors, k, lambda_mult)
        return [found[at][0] for at in order]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda cosine: min(max(cosine, 0.0), 1.0)

    def _put(
        self,
        texts: list[str],
        vectors: Sequence[Sequence[float]],
        metadatas: list[dict[str, Any]] | None,
        ids: list[str] | None,
        expires: int | None,
    ) -> list[str]:
        entries = metadatas if metadatas is not None else [{} for _ in texts]
        # LangChain passes None for single ids that a Document lacks.
        given: Sequence[str | None] = ids or [None] * len(texts)
        names = [each or str(uuid.uuid4()) for each in given]
        if not len(texts) == len(entries) == len(names):
            raise BadInput(
                f"There are {len(texts)} texts, {len(entries)} metadata and {len(names)} ids.",
                hint="Give one of each.",
            )
        if texts:
            drafts = {
                name: self._draft(name, text, vector, metadata or {}, expires)
                for name, text, vector, metadata in zip(
                    names, texts, units(vectors), entries, strict=True
                )
            }
            self.collection.put_documents(list(drafts.values()))
        return names

    def _draft(
        self,
        name: str,
        text: str,
        vector: NDArray[np.float32],
        metadata: dict[str, Any],
        expires: int | None,
    ) -> DocumentDraft:
        parts = (FINGERPRINT, utf8(text), utf8(canonical(metadata)), vector.tobytes())
        return DocumentDraft(
            source=name,
            content_tag=self.collection.content_tag(b"".join(map(lp, parts))),
            chunks=[ChunkDraft(text, vector, metadata={MARK: metadata})],
            labels=labels_of(metadata),
            expires=expires,
        )

    def _search(
        self, vector: Sequence[float], k: int, filter: Mapping[str, Any] | None
    ) -> list[tuple[Document, float]]:
        wanted = labels_of(filter or {})
        if len(wanted) != len(filter or {}):
            raise BadInput(
                "A filter compares with texts, numbers, true, false and null only.",
                hint="Give one value for each name, such as {'team': 'sales'}.",
            )
        hits = self.collection.search(units([vector])[0], k, filter=wanted)
        return [(to_document(hit), hit.score) for hit in hits]
