"""From a question to an answer, sentence by sentence, each one supported by a passage.

The model's text is let through one finished sentence at a time, and only what a passage supports
(:mod:`crag_provider.rag.support`). Where nothing of it remains, the sentences of the passages that
are nearest to the question answer instead, as quotes, and the answer says so (``mode``).
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from crag_core.errors import CragError, Unreachable
from crag_provider.rag.passages import Library, Passage, PassageRetriever
from crag_provider.rag.sentences import Sentence, excerpt, finished, in_order, rank, split
from crag_provider.rag.style import Style
from crag_provider.rag.support import Checker
from crag_provider.receipts import SnapshotRef

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable

_MARK = re.compile(r"[\[［]\s*(\d+)\s*[\]］]")
NOTHING = "The documents hold nothing about this."


@dataclass(frozen=True)
class Citation:
    """Passage number ``n`` of an answer; ``text`` is verbatim the document's."""

    n: int
    source: str
    page: int | None
    text: str
    score: float

    def as_json(self) -> dict[str, Any]:
        """The object of the contract."""
        return {
            "n": self.n,
            "source": self.source,
            "page": self.page,
            "text": self.text,
            "score": round(self.score, 6),
        }


@dataclass
class Answer:
    """A whole answer. ``mode``: ``model`` or ``quotes``; ``timings_ms``: ``retrieval``, ``answer``,
    ``total``; ``passages``: all that was found, in the order of the search."""

    question: str
    snapshot: SnapshotRef
    text: str = ""
    mode: str = "model"
    citations: list[Citation] = field(default_factory=list)
    passages: list[Passage] = field(default_factory=list)
    timings_ms: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """A part of the answer that is final, in the order of the text."""

    text: str


class Answerer:
    """Answers questions from one library.

    Args:
        chain: see :func:`crag_provider.rag.chain.answer_chain`; None quotes always.
    """

    def __init__(
        self, library: Library, style: Style, chain: Runnable[dict[str, Any], str] | None
    ) -> None:
        self._library = library
        self._style = style
        self._chain = chain

    async def answer(self, question: str, k: int) -> Answer:
        """The answer to ``question`` from the ``k`` nearest passages.

        Raises:
            CragError: the search failed (integrity, database), or the model did (Unreachable).
        """
        async for event in self.stream(question, k):
            if isinstance(event, Answer):
                return event
        raise RuntimeError("a stream ends with the answer")

    async def stream(self, question: str, k: int) -> AsyncIterator[Piece | Answer]:
        """The answer's pieces as they become final, and the :class:`Answer` at the end."""
        begun = time.perf_counter()
        documents = await PassageRetriever(self._library, k).ainvoke(question)
        snapshot = documents[0].metadata["snapshot"] if documents else self._library.snapshot
        passages = [document.metadata["passage"] for document in documents]
        made = Answer(question, snapshot, passages=passages)
        made.timings_ms["retrieval"] = _milliseconds(begun)
        started = time.perf_counter()
        cite = _Citer(made)
        texts = [passage.text for passage in made.passages]
        ranked: list[Sentence] = []
        if texts:
            near = self._library.similarity(question)
            ranked = await asyncio.to_thread(rank, question, texts, near)
        if self._chain is not None and texts:
            async for text, passage in self._supported(question, texts, ranked):
                yield _add(made, cite.marked(text, passage))
        if not made.text:
            made.mode = "quotes"
            for one in excerpt(ranked):
                yield _add(made, cite.marked(one.text, one.passage))
        if not made.text:
            yield _add(made, NOTHING)
        made.timings_ms["answer"] = _milliseconds(started)
        made.timings_ms["total"] = _milliseconds(begun)
        yield made

    async def _supported(
        self, question: str, texts: Sequence[str], ranked: Sequence[Sentence]
    ) -> AsyncIterator[tuple[str, int]]:
        check = Checker(question, texts, self._style.needed).check
        said: set[str] = set()
        async for sentence in self._sentences(question, texts, ranked):
            passage = check(sentence)
            if passage is not None and sentence not in said:
                said.add(sentence)
                yield sentence, passage

    async def _sentences(
        self, question: str, texts: Sequence[str], ranked: Sequence[Sentence]
    ) -> AsyncIterator[str]:
        """The model's sentences, each as soon as the next one begins."""
        if self._chain is None:
            return
        held = ""
        given = {"question": question, "context": self._context(texts, ranked)}
        try:
            async for part in self._chain.astream(given):
                whole, held = finished(held + part)
                for sentence in whole:
                    yield sentence
        except CragError:
            raise
        except Exception as error:  # noqa: BLE001 - a library's text could hold the prompt
            raise Unreachable(
                f"The language model did not answer ({type(error).__name__}).",
                hint="Ask again; if it stays so, the service needs a restart.",
                code="model-failed",
            ) from None
        for last in split(held):
            yield last.text

    def _context(self, texts: Sequence[str], ranked: Sequence[Sentence]) -> str:
        if self._style.sentences:
            return " ".join(one.text for one in in_order(ranked[: self._style.sentences]))
        return "\n\n".join(f"[{n}] {text}" for n, text in enumerate(texts, 1))


class _Citer:
    """Numbers the passages that an answer rests on, in the order in which it does."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._number: Callable[[int], int] = functools.cache(self._new)

    def _new(self, passage: int) -> int:
        found = self._answer.passages[passage]
        n = len(self._answer.citations) + 1
        self._answer.citations.append(
            Citation(n, found.source, found.page, found.text, found.score)
        )
        return n

    def marked(self, text: str, passage: int) -> str:
        # A document, or a model, that writes "[1]" would name a source of its choice.
        own = _MARK.sub(r"(\1)", text)
        return f"{own} [{self._number(passage)}]"


def _add(answer: Answer, text: str) -> Piece:
    piece = text if not answer.text else f" {text}"
    answer.text += piece
    return Piece(piece)


def _milliseconds(since: float) -> float:
    return round((time.perf_counter() - since) * 1000, 1)
