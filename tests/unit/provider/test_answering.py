"""Answers are made of supported sentences, or of quotes that say that they are."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from crag_core.errors import IntegrityViolated, Unreachable
from crag_provider.rag.answering import NOTHING, Answer, Answerer, Piece
from crag_provider.rag.style import LARGE, SMALL, Style
from support.library import SNAPSHOT, Row, Shelf, library, speaking

TOWN = Row("The Lind bridge was opened in 1931 by Mayor Anna Lind. It is 420 metres long.", "t.md")
MILLS = Row("Wool was the main export until 1870. The river flooded the mills.", "m.md", 3, 0.5)
WHO = "Who opened the Lind bridge?"


def ask(
    shelf: Shelf, chain: Any, question: str = WHO, k: int = 5, style: Style = SMALL
) -> list[Piece | Answer]:
    async def gather() -> list[Piece | Answer]:
        return [event async for event in Answerer(library(shelf), style, chain).stream(question, k)]

    return asyncio.run(gather())


def whole(events: list[Piece | Answer]) -> Answer:
    answer = events[-1]
    assert isinstance(answer, Answer)
    pieces = [event.text for event in events[:-1] if isinstance(event, Piece)]
    assert "".join(pieces) == answer.text
    return answer


def test_supported_sentences_are_the_answer_and_cite_their_passage() -> None:
    answer = whole(ask(Shelf([MILLS, TOWN]), speaking("Mayor Anna ", "Lind opened the bridge.")))
    assert (answer.text, answer.mode) == ("Mayor Anna Lind opened the bridge. [1]", "model")
    assert [citation.as_json() for citation in answer.citations] == [
        {"n": 1, "source": "t.md", "page": None, "text": TOWN.text, "score": 0.9}
    ]
    assert [passage.source for passage in answer.passages] == ["m.md", "t.md"]
    assert answer.snapshot == SNAPSHOT
    assert set(answer.timings_ms) == {"retrieval", "answer", "total"}


def test_an_invented_answer_is_replaced_by_quotes() -> None:
    answer = whole(ask(Shelf([TOWN, MILLS]), speaking("King Otto opened the bridge in 1999.")))
    assert answer.mode == "quotes"
    assert answer.text == (
        "The Lind bridge was opened in 1931 by Mayor Anna Lind. [1] It is 420 metres long. [1]"
    )


def test_only_the_invented_sentence_is_dropped() -> None:
    said = ("Mayor Anna Lind opened it in 1931. King Otto ", "sang. The bridge is 420 metres long.")
    answer = whole(ask(Shelf([TOWN]), speaking(*said)))
    assert answer.mode == "model"
    assert "Otto" not in answer.text and "420 metres" in answer.text


def test_a_sentence_is_final_before_the_next_one_is_said() -> None:
    async def first() -> str:
        chain = speaking("Mayor Anna Lind opened it. The", " bridge is 420 metres long.")
        async for event in Answerer(library(Shelf([TOWN])), SMALL, chain).stream(WHO, 5):
            assert isinstance(event, Piece)
            return event.text
        raise AssertionError("nothing was said")

    assert asyncio.run(first()) == "Mayor Anna Lind opened it. [1]"


def test_without_a_model_the_nearest_sentences_answer() -> None:
    answer = whole(ask(Shelf([TOWN, MILLS]), None, "When was wool the main export?"))
    assert answer.mode == "quotes"
    assert "Wool was the main export until 1870. [" in answer.text
    assert {(citation.source, citation.page) for citation in answer.citations} >= {("m.md", 3)}


def test_an_empty_collection_says_that_it_holds_nothing() -> None:
    answer = whole(ask(Shelf([]), speaking("Mayor Anna Lind.")))
    assert (answer.text, answer.citations, answer.mode) == (NOTHING, [], "quotes")
    assert answer.snapshot == SNAPSHOT


def test_a_small_model_sees_the_nearest_sentences_and_a_large_one_the_passages() -> None:
    seen: list[dict[str, Any]] = []
    ask(Shelf([MILLS, TOWN]), speaking("x", seen=seen))
    ask(Shelf([MILLS, TOWN]), speaking("x", seen=seen), style=LARGE)
    assert seen[0]["context"] == TOWN.text
    assert seen[1]["context"] == f"[1] {MILLS.text}\n\n[2] {TOWN.text}"


def test_a_violation_in_the_collection_is_no_answer() -> None:
    failure = IntegrityViolated("The row x was changed.")
    with pytest.raises(IntegrityViolated, match="row x"):
        ask(Shelf([TOWN], failure), speaking("Mayor Anna Lind opened it."))


def test_the_number_of_passages_is_the_callers() -> None:
    shelf = Shelf([TOWN, MILLS])
    assert len(whole(ask(shelf, None, k=1)).passages) == 1
    assert shelf.asked == [1]


def test_a_model_that_fails_is_told_without_its_words() -> None:
    def fail(given: dict[str, Any]) -> str:
        raise RuntimeError(given["context"])

    with pytest.raises(Unreachable) as failed:
        ask(Shelf([TOWN]), RunnableLambda(fail))
    assert failed.value.code == "model-failed" and failed.value.__cause__ is None
    assert "Lind" not in failed.value.diagnostics() and "RuntimeError" in failed.value.message
