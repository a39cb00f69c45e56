"""Retrieval: the verified rows nearest to a question, as LangChain documents."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FoundRow(Protocol):
    """A hit of the collection (:mod:`crag_core.collection`)."""

    score: float
    text: str
    source: str
    page: int | None
    chunk_id: str
    row_sha256: str


class Searchable(Protocol):
    """A collection whose rows were verified."""

    def search(
        self, vector: NDArray[np.float32], k: int = 10, fetch: int | None = None
    ) -> Sequence[Any]:
        """The ``k`` rows nearest to ``vector``."""


class Embeds(Protocol):
    """The collection's embedder."""

    def query(self, text: str) -> NDArray[np.float32]:
        """The vector of a question."""

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of texts."""


@dataclass(frozen=True)
class Passage:
    """A verified row: what it says, where it is from, and its ciphertext's hash."""

    text: str
    source: str
    page: int | None
    score: float
    row_id: str
    row_sha256: str


class Library:
    """The collection and its embedder, one question at a time."""

    def __init__(self, collection: Searchable, embedder: Embeds, fetch: int | None) -> None:
        self._collection = collection
        self._embedder = embedder
        self._fetch = fetch
        self._lock = threading.Lock()

    def search(self, question: str, k: int) -> list[Passage]:
        """The ``k`` passages nearest to ``question``, best first.

        Raises:
            IntegrityViolated: a row is not the one that the owner wrote.
            Unreachable: the database does not answer.
        """
        with self._lock:
            hits = self._collection.search(self._embedder.query(question), k, self._fetch)
        return [
            Passage(h.text, h.source, h.page, float(h.score), str(h.chunk_id), h.row_sha256)
            for h in hits
        ]

    def similarity(self, question: str) -> Callable[[Sequence[str]], list[float]]:
        """A function that tells how near texts are to ``question``, by the embedder."""

        def near(texts: Sequence[str]) -> list[float]:
            with self._lock:
                return [
                    float(v)
                    for v in self._embedder.passages(list(texts)) @ self._embedder.query(question)
                ]

        return near


class PassageRetriever(BaseRetriever):
    """A LangChain retriever over a :class:`Library`; a document's ``metadata["passage"]`` is the
    :class:`Passage`."""

    _library: Library = PrivateAttr()
    _k: int = PrivateAttr()

    def __init__(self, library: Library, k: int) -> None:
        super().__init__()
        self._library = library
        self._k = k

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        del run_manager
        return [
            Document(page_content=passage.text, metadata={"passage": passage})
            for passage in self._library.search(query, self._k)
        ]
