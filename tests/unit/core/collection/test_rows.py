"""A row binds all of its columns; its digest knows it again anywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crag_core.collection import profile as profiles
from crag_core.collection.batch import NewDocument
from crag_core.collection.context import Context
from crag_core.collection.documents import DocumentInfo, open_document, seal_document
from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.rows import open_row, opens, row_digest, row_name
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.store.interface import StoredRow
from support.contexts import DIMENSION, make_context
from support.database import vector_of
from support.sealed import seal_documents

DOCUMENT = bytes(range(16))


CONTEXT = make_context()


def seal(
    context: Context = CONTEXT, *, texts: tuple[str, ...] = ("text",), **fields: Any
) -> list[StoredRow]:
    chunks = [ChunkDraft(text, vector_of(text, DIMENSION), page=3, heading="h") for text in texts]
    given_fields: dict[str, Any] = {"labels": {"team": "a"}, **fields}
    made = DocumentDraft("a.txt", b"", chunks, **given_fields)
    return seal_documents(context, [NewDocument(DOCUMENT, made)])[0].rows


(ROW,) = seal()


@settings(deadline=None, max_examples=40)
@given(st.text(max_size=2000), st.text(max_size=50), st.none() | st.integers(0, 10**6))
def test_any_text_survives(text: str, heading: str, page: int | None) -> None:
    chunk = ChunkDraft(text, vector_of("x", DIMENSION), page=page, heading=heading)
    made = DocumentDraft("s", b"", [chunk], expires=12)
    ((sealed, _),) = seal_documents(CONTEXT, [NewDocument(DOCUMENT, made)])
    content = open_row(CONTEXT, sealed[0])
    assert (content.text, content.heading, content.page) == (text, heading, page)
    assert (content.document_id, content.index, content.source) == (row_name(DOCUMENT), 0, "s")
    assert text.encode() not in sealed[0].ciphertext or len(text.encode()) < 4


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_change_of_any_column_is_refused_and_changes_the_digest(data: st.DataObject) -> None:
    column = data.draw(st.sampled_from([name for name in StoredRow._fields if name != "id"]))
    value = getattr(ROW, column)
    if isinstance(value, bytes):
        new: Any = data.draw(st.binary(max_size=len(value) + 2))
    elif isinstance(value, tuple):
        new = tuple(data.draw(st.lists(st.binary(min_size=16, max_size=16), max_size=2)))
    else:
        new = data.draw(st.integers(-(2**15), 2**15 - 1))
    changed = ROW._replace(**{column: new})
    if changed == ROW:
        return
    assert row_digest(changed) != row_digest(ROW)
    with pytest.raises(IntegrityViolated, match=row_name(ROW.id)):
        open_row(CONTEXT, changed)
    assert not opens(CONTEXT, changed)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(["iv", "vector", "nonce", "ciphertext"]), st.integers(0, 10**6))
def test_any_changed_bit_is_refused(column: str, place: int) -> None:
    raw = bytearray(getattr(ROW, column))
    raw[place // 8 % len(raw)] ^= 1 << place % 8
    changed = ROW._replace(**{column: bytes(raw)})
    assert row_digest(changed) != row_digest(ROW)
    assert not opens(CONTEXT, changed)


def test_an_id_is_bound_but_not_part_of_the_digest() -> None:
    moved = ROW._replace(id=bytes(16))
    assert not opens(CONTEXT, moved)
    assert row_digest(moved) == row_digest(ROW)


@pytest.mark.parametrize(
    "other",
    [make_context(name="other"), make_context(key=b"o" * 32), make_context(salt=b"o" * 32)],
    ids=["collection", "key", "salt"],
)
def test_another_collection_key_or_salt_does_not_open_it(other: Context) -> None:
    assert not opens(other, ROW)


def test_moving_bytes_between_columns_changes_the_digest() -> None:
    shifted = ROW._replace(iv=ROW.iv + ROW.vector[:2], vector=ROW.vector[2:])
    assert row_digest(shifted) != row_digest(ROW)
    tags = ROW._replace(tags=(b"t" * 8, b"t" * 8))
    assert row_digest(tags) != row_digest(ROW)


def test_sealing_again_gives_the_same_id_iv_and_vector_but_another_ciphertext() -> None:
    (again,) = seal()
    assert (again.id, again.iv, again.vector) == (ROW.id, ROW.iv, ROW.vector)
    assert again.nonce != ROW.nonce
    assert again.ciphertext != ROW.ciphertext


def test_texts_of_nearby_lengths_have_one_length_sealed() -> None:
    short, long = seal(texts=("a", "a" * 60))
    assert len(short.ciphertext) == len(long.ciphertext)
    assert len(short.ciphertext) % 256 == 16


def test_rows_of_one_text_at_two_places_have_two_ids() -> None:
    one, two = seal(texts=("same", "same"))
    assert one.id != two.id
    assert one.vector != two.vector


def test_stored_vectors_are_big_endian_halves_of_the_cipher() -> None:
    vector = np.frombuffer(ROW.vector, dtype=">f2").astype(np.float16)[None]
    iv = np.frombuffer(ROW.iv, dtype=np.uint8)[None]
    plain = CONTEXT.cipher.decrypt(vector, iv)[0]
    assert np.allclose(plain, vector_of("text", DIMENSION), atol=2e-3)


def test_a_document_description_is_bound_to_its_id() -> None:
    info = DocumentInfo(
        id=row_name(DOCUMENT),
        source="档案.txt",
        labels={"a": "b"},
        added="2026-01-01T00:00:00Z",
        updated="2026-01-01T00:00:00Z",
        expires=5,
        content_tag=b"c" * 32,
        members=[(ROW.id, row_digest(ROW))],
    )
    sealed = seal_document(CONTEXT, info)
    assert open_document(CONTEXT, sealed) == info
    assert (info.chunks, info.rows, info.key) == (1, [row_name(ROW.id)], DOCUMENT)
    for changed in (
        sealed._replace(id=bytes(16)),
        sealed._replace(version=2),
        sealed._replace(epoch=2),
        sealed._replace(ciphertext=sealed.ciphertext[:-1]),
        sealed._replace(nonce=b""),
    ):
        with pytest.raises(IntegrityViolated):
            open_document(CONTEXT, changed)
    with pytest.raises(IntegrityViolated):
        open_document(make_context(name="other"), sealed)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.filter_too_much])
@given(st.text(max_size=70))
def test_names_that_are_accepted_are_safe_in_paths_and_resources(name: str) -> None:
    try:
        profiles.check_name(name)
    except BadInput:
        return
    assert name.isascii()
    assert 1 <= len(name) <= 63
    assert not set(name) & set("/\\ \n\0%?#")
    assert name not in (".", "..")


def test_a_trailing_newline_is_no_name() -> None:
    with pytest.raises(BadInput):
        profiles.check_name("demo\n")
