"""A library of given passages and a language model of given words, for tests of the answering."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from langchain_core.runnables import RunnableGenerator
from numpy.typing import NDArray

from crag_provider.rag.passages import Library
from crag_provider.receipts import SnapshotRef

SNAPSHOT = SnapshotRef("0123456789abcdef", 7, "ab" * 32)


@dataclass(frozen=True)
class Row:
    """A hit."""

    text: str
    source: str = "a.md"
    page: int | None = None
    score: float = 0.9

    @property
    def chunk_id(self) -> str:
        return hashlib.md5(self.text.encode(), usedforsecurity=False).hexdigest()

    @property
    def row_sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass
class Shelf:
    """A collection that returns its rows in their order."""

    rows: Sequence[Row]
    failure: Exception | None = None
    asked: list[int] = field(default_factory=list)
    snapshot: SnapshotRef = SNAPSHOT

    def search_with_snapshot(
        self, vector: NDArray[np.float32], k: int = 10, fetch: int | None = None
    ) -> tuple[Sequence[Row], SnapshotRef]:
        assert vector.shape == (4,)
        self.asked.append(k)
        if self.failure is not None:
            raise self.failure
        return self.rows[:k], self.snapshot


class Letters:
    """An embedder whose vectors are counts of letters."""

    def query(self, text: str) -> NDArray[np.float32]:
        return np.array([text.count(letter) for letter in "aeio"], dtype=np.float32)

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([self.query(text) for text in texts])


def library(shelf: Shelf) -> Library:
    return Library(shelf, Letters())


def speaking(*parts: str, seen: list[dict[str, Any]] | None = None) -> Any:
    """A chain that says ``parts`` one by one, whatever it is asked."""

    def transform(given: Iterator[dict[str, Any]]) -> Iterator[str]:
        for one in given:
            if seen is not None:
                seen.append(one)
        yield from parts

    async def atransform(given: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
        async for one in given:
            if seen is not None:
                seen.append(one)
        for part in parts:
            yield part

    return RunnableGenerator(transform, atransform)
