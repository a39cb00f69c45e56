"""What a service keeps of verified rows ranks as the rows themselves would."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.collection.batch import NewDocument
from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.search import Question
from crag_core.collection.verified_rows import VerifiedRows, VerifiedRowsLoader
from crag_core.store.interface import StoredRow, StoredText
from support.contexts import DIMENSION, make_context
from support.database import vector_of
from support.sealed import seal_documents

CONTEXT = make_context()


def kept(texts: list[str]) -> tuple[VerifiedRows, list[StoredRow]]:
    chunks = [ChunkDraft(text, vector_of(text, DIMENSION)) for text in texts]
    ((rows, _),) = seal_documents(
        CONTEXT, [NewDocument(bytes(16), DocumentDraft("a", b"", chunks))]
    )
    loader = VerifiedRowsLoader(CONTEXT)
    for row in rows:
        loader.keep(row, b"", b"")
    return loader.finish(), rows


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=40), st.text(max_size=5))
def test_scores_are_the_cosines_of_the_plaintexts(texts: list[str], asked: str) -> None:
    held, rows = kept(texts)
    question = Question.of(CONTEXT, vector_of(asked, DIMENSION), 1000, None, ())
    texts_of = [StoredText(row.id, row.nonce, row.ciphertext) for row in rows]
    near = held.ranked(CONTEXT, question, texts_of)
    scores = {row.id: score for row, score in near}
    assert sorted(row for row, _ in near) == sorted(rows)
    assert [score for _, score in near] == sorted(scores.values(), reverse=True)
    for row, text in zip(rows, texts, strict=True):
        exact = float(vector_of(text, DIMENSION) @ vector_of(asked, DIMENSION))
        assert abs(scores[row.id] - exact) < 2e-3


def test_rows_are_numbered_across_blocks_and_none_at_all_is_possible() -> None:
    held, rows = kept([str(number) for number in range(5000)])
    assert held.vectors.shape == (5000, DIMENSION)
    assert held.vectors.dtype == np.float16
    assert [held.numbers[row.id] for row in rows] == list(range(5000))
    empty = VerifiedRowsLoader(CONTEXT).finish()
    question = Question.of(CONTEXT, vector_of("x", DIMENSION), 1, None, ())
    assert empty.ranked(CONTEXT, question, []) == []
