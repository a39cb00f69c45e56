"""The binary forms that PostgreSQL reads and writes."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.store.interface import StoredDocument, StoredRow
from crag_core.store.new_rows import NewRows
from crag_core.store.rowcodec import (
    COPY_HEADER,
    COPY_TRAILER,
    decode_document,
    decode_row,
    decode_rows,
    decode_tags,
    decode_texts,
    encode_documents,
    encode_rows,
)

small = st.integers(-(2**15), 2**15 - 1)
number = st.integers(-(2**31), 2**31 - 1)


@st.composite
def uniform(draw: st.DrawFn) -> list[StoredRow]:
    """Rows of one format and of one size of IV, vector and nonce, as one collection has them."""
    iv, vector, nonce = (draw(st.integers(0, 10)) for _ in range(3))
    row = st.builds(
        StoredRow,
        id=st.binary(min_size=16, max_size=16),
        version=st.just(draw(small)),
        epoch=st.just(draw(number)),
        iv=st.binary(min_size=iv, max_size=iv),
        vector=st.binary(min_size=2 * vector, max_size=2 * vector),
        nonce=st.binary(min_size=nonce, max_size=nonce),
        ciphertext=st.binary(max_size=600),
        tags=st.just(()) | st.lists(st.binary(max_size=20), max_size=4).map(tuple),
        expires=st.none() | st.integers(-(2**63), 2**63 - 1),
    )
    return draw(st.lists(row, max_size=5))


documents = st.builds(
    StoredDocument,
    id=st.binary(min_size=16, max_size=16),
    version=small,
    epoch=number,
    nonce=st.binary(max_size=20),
    ciphertext=st.binary(max_size=600),
)


def read_copy(stream: bytes) -> list[list[bytes | None]]:
    """A COPY BINARY stream after PostgreSQL's documentation, written apart from the product."""
    stream = COPY_HEADER + stream + COPY_TRAILER
    assert stream[:11] == b"PGCOPY\n\xff\r\n\0"
    flags, extension = struct.unpack(">II", stream[11:19])
    assert (flags, extension) == (0, 0)
    at, found = 19, []
    while True:
        (count,) = struct.unpack_from(">h", stream, at)
        at += 2
        if count == -1:
            assert at == len(stream)
            return found
        fields: list[bytes | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from(">i", stream, at)
            at += 4
            if length == -1:
                fields.append(None)
            else:
                fields.append(stream[at : at + length])
                at += length
        found.append(fields)


def as_selected(fields: list[bytes | None]) -> list[Any]:
    """What the driver hands over for a row that was stored from these fields."""
    identity, version, epoch, iv, vector, nonce, ciphertext, tags, expires = fields
    return [
        identity, int.from_bytes(version or b"", "big", signed=True),
        int.from_bytes(epoch or b"", "big", signed=True), iv, vector, nonce, ciphertext, tags,
        None if expires is None else int.from_bytes(expires, "big", signed=True),
    ]  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(uniform())
def test_rows_survive_the_way_to_the_database_and_back(given_rows: list[StoredRow]) -> None:
    columns = NewRows.of(given_rows)
    assert columns.rows() == given_rows
    copied = read_copy(encode_rows(columns))
    assert [decode_row(as_selected(fields)) for fields in copied] == given_rows


@pytest.mark.parametrize(
    "change",
    [
        {"id": bytes(15)},
        {"version": 2},
        {"epoch": 2},
        {"iv": b""},
        {"vector": bytes(2)},
        {"nonce": bytes(13)},
    ],
)
def test_rows_of_several_formats_are_not_written_together(change: dict[str, Any]) -> None:
    row = StoredRow(bytes(16), 1, 1, bytes(12), bytes(8), bytes(12), b"text", (), None)
    with pytest.raises(ValueError, match="several formats"):
        NewRows.of([row, row._replace(**change)])


@settings(deadline=None, max_examples=40)
@given(st.lists(documents, max_size=5))
def test_documents_survive_the_way_to_the_database_and_back(given: list[StoredDocument]) -> None:
    copied = read_copy(encode_documents(given))
    selected = [
        [identity, int.from_bytes(version or b"", "big", signed=True),
         int.from_bytes(epoch or b"", "big", signed=True), nonce, ciphertext]
        for identity, version, epoch, nonce, ciphertext in copied
    ]  # fmt: skip
    assert [decode_document(fields) for fields in selected] == given


def test_a_halfvec_carries_its_dimension() -> None:
    row = StoredRow(bytes(16), 1, 1, b"", b"\x3c\x00\xbc\x00\x00\x01", b"", b"", (), None)
    ((*_, vector, _nonce, _text, _tags, _expires),) = read_copy(encode_rows(NewRows.of([row])))
    assert vector == b"\x00\x03\x00\x00\x3c\x00\xbc\x00\x00\x01"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.none() | st.integers() | st.text() | st.binary(), min_size=3)))
def test_texts_of_any_kind_are_read_without_failing(records: list[list[object]]) -> None:
    for text, record in zip(decode_texts(records), records, strict=True):
        for value, read in zip(record, text, strict=False):
            assert read == (value if isinstance(value, bytes) else b"")


odd = st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=30) | st.floats()


@settings(deadline=None, max_examples=100)
@given(st.lists(odd, min_size=9, max_size=9))
def test_a_row_of_any_other_kind_is_read_without_failing(fields: list[object]) -> None:
    from crag_core.collection.rows import row_digest

    assert len(row_digest(decode_row(fields))) == 32


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=80))
def test_any_array_is_read_without_failing(raw: bytes) -> None:
    assert all(isinstance(tag, bytes) for tag in decode_tags(raw))


def test_arrays_that_crag_does_not_write_differ_from_every_array_that_it_does() -> None:
    good = struct.pack(">iiiii", 1, 0, 17, 1, 1) + struct.pack(">i", 3) + b"abc"
    assert decode_tags(good) == (b"abc",)
    null = struct.pack(">iiiii", 1, 1, 17, 1, 1) + struct.pack(">i", -1)
    assert decode_tags(null) == (null,)
    bound = struct.pack(">iiiii", 1, 0, 17, 1, 5) + struct.pack(">i", 3) + b"abc"
    assert decode_tags(bound) == (b"abc",)


odd = st.none() | st.binary(max_size=40) | st.integers(-(2**70), 2**70) | st.text(max_size=3)
NO_TAGS = struct.pack(">iii", 0, 0, 17)
usual = st.tuples(
    st.binary(min_size=16, max_size=16),
    small,
    number,
    st.binary(max_size=12),
    st.binary(max_size=40),
    st.binary(max_size=12),
    st.binary(max_size=40),
    st.just(NO_TAGS) | st.binary(max_size=40),
    st.none() | st.integers(-(2**70), 2**70),
)


@settings(max_examples=200)
@given(st.lists(usual, max_size=5), st.lists(st.tuples(*[odd] * 9), max_size=1))
def test_rows_together_are_decoded_as_one_by_one(
    records: list[tuple[Any, ...]], strange: list[tuple[Any, ...]]
) -> None:
    for given_records in (records, records + strange):
        assert decode_rows(given_records) == [decode_row(record) for record in given_records]
