"""What a service keeps of verified rows ranks as the rows themselves would."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.collection.batch import NewDocument
from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.search import Question
from crag_core.collection.verified_rows import TEXT_BYTES, VerifiedRows, VerifiedRowsLoader
from crag_core.store.interface import StoredRow, StoredText
from support.contexts import DIMENSION, make_context
from support.database import vector_of
from support.sealed import seal_documents

CONTEXT = make_context()


def sealed(texts: list[str]) -> list[StoredRow]:
    chunks = [ChunkDraft(text, vector_of(text, DIMENSION)) for text in texts]
    ((rows, _),) = seal_documents(
        CONTEXT, [NewDocument(bytes(16), DocumentDraft("a", b"", chunks))]
    )
    return rows


def kept(
    rows: list[StoredRow], old: VerifiedRows | None = None, text_bytes: int = TEXT_BYTES
) -> VerifiedRows:
    loader = VerifiedRowsLoader(CONTEXT, old, text_bytes)
    for row in rows:
        loader.keep(row, b"", b"")
    return loader.finish()


def joined(rows: list[StoredRow]) -> bytes:
    return b"".join(row.id for row in rows)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.text(max_size=5), min_size=1, max_size=40), st.text(max_size=5), st.booleans())
def test_scores_are_the_cosines_of_the_plaintexts(
    texts: list[str], asked: str, texts_held: bool
) -> None:
    rows = sealed(texts)
    held = kept(rows, text_bytes=TEXT_BYTES if texts_held else 0)
    question = Question.of(CONTEXT, vector_of(asked, DIMENSION), 1000, None, ())
    near = held.ranked(CONTEXT, question, joined(rows))
    made = []
    for each in near:
        row = rows[each.place]
        text = None if texts_held else StoredText(row.id, row.nonce, row.ciphertext)
        made.append(held.row(CONTEXT, each, text))
        assert made[-1] == row
    assert sorted(made) == sorted(rows)
    scores = {each.id: each.score for each in near}
    assert [each.score for each in near] == sorted(scores.values(), reverse=True)
    for row, text in zip(rows, texts, strict=True):
        exact = float(vector_of(text, DIMENSION) @ vector_of(asked, DIMENSION))
        assert abs(scores[row.id] - exact) < 2e-3


def test_rows_are_numbered_across_blocks_and_none_at_all_is_possible() -> None:
    rows = sealed([str(number) for number in range(5000)])
    held = kept(rows)
    assert held.vectors.shape == (5000, DIMENSION)
    assert held.vectors.dtype == np.float16
    assert held.numbers.find(joined(rows)).tolist() == list(range(5000))
    assert held.texts == [row.nonce + row.ciphertext for row in rows]
    question = Question.of(CONTEXT, vector_of("x", DIMENSION), 1, None, ())
    assert kept([]).ranked(CONTEXT, question, b"") == []


def test_texts_beyond_the_limit_are_not_kept() -> None:
    rows = sealed(["a", "b", "c"])
    size = sum(sys.getsizeof(row.nonce + row.ciphertext) + 8 for row in rows)
    assert kept(rows, text_bytes=size).texts is not None
    short = kept(rows, text_bytes=size - 1)
    assert short.texts is None
    question = Question.of(CONTEXT, vector_of("x", DIMENSION), 1, None, ())
    (near,) = short.ranked(CONTEXT, question, joined(rows))
    with pytest.raises(TypeError, match="needs its text"):
        short.row(CONTEXT, near)


def test_a_text_that_did_not_change_is_kept_once() -> None:
    rows = sealed([str(number) for number in range(5000)])
    old = kept(rows)
    changed = [rows[1]._replace(ciphertext=b"another"), *rows[2:]]
    new = kept(changed, old)
    assert old.texts is not None and new.texts is not None
    assert new.texts[0] == rows[1].nonce + b"another"
    assert all(one is other for one, other in zip(new.texts[1:], old.texts[2:], strict=True))
    # What was too much once is not tried again: a collection rarely shrinks.
    assert kept(rows, kept(rows, text_bytes=0)).texts is None
