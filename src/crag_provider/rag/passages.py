"""Retrieval: the verified rows nearest to a question, as LangChain documents."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr

from crag_provider.receipts import SnapshotRef, Verified

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FoundRow(Protocol):
    """A hit of the collection (:mod:`crag_core.collection`)."""

    @property
    def score(self) -> float:
        """Cosine with the question."""

    @property
    def text(self) -> str:
        """What the row says."""

    @property
    def source(self) -> str:
        """The document it is from."""

    @property
    def page(self) -> int | None:
        """The page there."""

    @property
    def chunk_id(self) -> str:
        """The row's id."""

    @property
    def row_sha256(self) -> str:
        """Digest of the row as stored, hex."""


class Searchable(Protocol):
    """A collection whose rows were verified (:class:`crag_core.collection.LoadedCollection`)."""

    @property
    def snapshot(self) -> Verified:
        """The state that was verified last."""

    def search_with_snapshot(
        self, vector: NDArray[np.float32], k: int = 10, fetch: int | None = None
    ) -> tuple[Sequence[FoundRow], Verified]:
        """The ``k`` rows nearest to ``vector``, and the state that they are from."""


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


@dataclass(frozen=True)
class Found:
    """Passages, best first, and the state of the collection that they are from."""

    passages: list[Passage]
    snapshot: SnapshotRef


class Library:
    """The collection and its embedder; safe to use from several threads."""

    def __init__(self, collection: Searchable, embedder: Embeds, fetch: int | None = None) -> None:
        self._collection = collection
        self._embedder = embedder
        self._fetch = fetch
        self._lock = threading.Lock()

    @property
    def snapshot(self) -> SnapshotRef:
        """The state that was verified last."""
        return SnapshotRef.of(self._collection.snapshot)

    def search(self, question: str, k: int) -> Found:
        """The ``k`` passages nearest to ``question``.

        Raises:
            IntegrityViolated: a row is not the one that the owner wrote, or all were rolled back.
            Unreachable: the database does not answer.
        """
        with self._lock:
            vector = self._embedder.query(question)
        hits, snapshot = self._collection.search_with_snapshot(vector, k, self._fetch)
        passages = [
            Passage(h.text, h.source, h.page, float(h.score), h.chunk_id, h.row_sha256)
            for h in hits
        ]
        return Found(passages, SnapshotRef.of(snapshot))

    def similarity(self, question: str) -> Callable[[Sequence[str]], list[float]]:
        """A function that tells how near texts are to ``question``, by the embedder."""

        def near(texts: Sequence[str]) -> list[float]:
            with self._lock:
                asked = self._embedder.query(question)
                vectors = self._embedder.passages(list(texts))
            return [float(value) for value in vectors @ asked]

        return near


class PassageRetriever(BaseRetriever):
    """A LangChain retriever over a :class:`Library`; in a document's ``metadata``, ``passage`` is
    the :class:`Passage` and ``snapshot`` the :class:`SnapshotRef`."""

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
        found = self._library.search(query, self._k)
        return [
            Document(
                page_content=passage.text,
                metadata={"passage": passage, "snapshot": found.snapshot},
            )
            for passage in found.passages
        ]
