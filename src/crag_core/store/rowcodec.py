"""Rows as PostgreSQL's binary formats carry them.

COPY BINARY: PostgreSQL 18 documentation, "COPY", section "Binary Format". halfvec: pgvector's
``halfvec_send`` (dimension and a reserved number as 16 bits, then the halves, all big-endian).
Arrays: ``array_send`` (dimensions, flags, element type, then length and lower bound per dimension).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

from crag_core.store.interface import StoredDocument, StoredRow, StoredText
from crag_core.store.new_rows import NewRows

COPY_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
COPY_TRAILER = b"\xff\xff"
BYTEA = 17
NULL = b"\xff\xff\xff\xff"

ROW_COLUMNS = "id, version, epoch, iv, emb, nonce, ct, tags, expires"
ROW_SELECT = (
    "uuid_send(id), version, epoch, iv, halfvec_send(emb), nonce, ct, array_send(tags), expires"
)
TEXT_SELECT = "uuid_send(id), nonce, ct"
IDS_SELECT = "string_agg(uuid_send(id), ''::bytea)"
DOCUMENT_COLUMNS = "id, version, epoch, nonce, ct"
DOCUMENT_SELECT = "uuid_send(id), version, epoch, nonce, ct"

_I32 = struct.Struct(">i")
# Number of columns and the length of the id; version, epoch, and the length of the next column.
_START = struct.Struct(">hi")
_NUMBERS = struct.Struct(">ihiii")
# All of these at once.
_FIXED = struct.Struct(">hi16sihiii")
_HALVES = struct.Struct(">iHH")
_EXPIRES = struct.Struct(">iq")
_NO_TAGS = struct.pack(">iii", 0, 0, BYTEA)
# Type, and size where it is a number, of the columns that cannot be NULL.
_TEXT = (bytes, 0)
_ROW_TYPES = (_TEXT, (int, 2), (int, 4), _TEXT, _TEXT, _TEXT, _TEXT, _TEXT)
_ROW_SIZES = (0, 2, 4, 0, 0, 0, 0, 0)


def _field(value: bytes) -> bytes:
    return _I32.pack(len(value)) + value


def encode_rows(rows: NewRows) -> bytes:
    """The rows in COPY BINARY over :data:`ROW_COLUMNS`, to stand between :data:`COPY_HEADER` and
    :data:`COPY_TRAILER`.
    """
    ids, version, epoch, ivs, vectors, nonces, texts, tags, expires = rows
    count = len(ids)
    if not count:
        return b""
    start, numbers, head, size = _between(
        len(ids[0]), version, epoch, len(ivs[0]), len(vectors[0]), len(nonces[0])
    )
    plain = _ending((), None)
    columns = (
        [start] * count,
        ids,
        [numbers] * count,
        ivs,
        [head] * count,
        vectors,
        [size] * count,
        nonces,
        [_I32.pack(len(text)) for text in texts],
        texts,
        [
            _ending(tag, moment) if tag or moment is not None else plain
            for tag, moment in zip(tags, expires, strict=True)
        ],
    )
    # Filled column by column, so that no row needs a step of its own.
    parts = [b""] * (count * len(columns))
    for at, column in enumerate(columns):
        parts[at :: len(columns)] = column
    return b"".join(parts)


def encode_documents(documents: Sequence[StoredDocument]) -> bytes:
    """The documents in COPY BINARY over :data:`DOCUMENT_COLUMNS`, as :func:`encode_rows`."""
    parts: list[bytes] = []
    for identity, version, epoch, nonce, ciphertext in documents:
        parts += (
            _FIXED.pack(5, 16, identity, 2, version, 4, epoch, len(nonce)),
            nonce,
            _field(ciphertext),
        )
    return b"".join(parts)


def decode_row(record: Sequence[Any]) -> StoredRow:
    """A record of :data:`ROW_SELECT`.

    What crag would never write (NULL, other types or dimensions) becomes a row that no key opens,
    so that the row is named instead of the reading being broken off.
    """
    identity, version, epoch, iv, vector, nonce, ciphertext, tags, expires = record
    return StoredRow(
        _bytes(identity),
        _integer(version, 2),
        _integer(epoch, 4),
        _bytes(iv),
        _bytes(vector)[4:],
        _bytes(nonce),
        _bytes(ciphertext),
        () if tags == _NO_TAGS else decode_tags(_bytes(tags)),
        None if expires is None else _integer(expires, 8),
    )


def decode_rows(records: Sequence[Sequence[Any]]) -> list[StoredRow]:
    """Records of :data:`ROW_SELECT`, as by :func:`decode_row`."""
    if not _usual(records):
        return [decode_row(record) for record in records]
    return [
        StoredRow(
            identity, version, epoch, iv, vector[4:], nonce, ciphertext,
            () if tags == _NO_TAGS else decode_tags(tags),
            None if expires is None else _integer(expires, 8),
        )
        for identity, version, epoch, iv, vector, nonce, ciphertext, tags, expires in records
    ]  # fmt: skip


def decode_texts(records: Sequence[Sequence[Any]]) -> list[StoredText]:
    """Records of :data:`TEXT_SELECT`; what crag would never write becomes a text of no row."""
    return [
        StoredText(_bytes(identity), _bytes(nonce), _bytes(ciphertext))
        for identity, nonce, ciphertext, *_ in records
    ]


def decode_ids(records: Sequence[Sequence[Any]]) -> bytes:
    """The one record of :data:`IDS_SELECT`; nothing where it is NULL, as that of no row is."""
    return b"".join(_bytes(record[0]) for record in records)


def decode_document(record: Sequence[Any]) -> StoredDocument:
    """A record of :data:`DOCUMENT_SELECT`."""
    identity, version, epoch, nonce, ciphertext = record
    return StoredDocument(
        _bytes(identity),
        _integer(version, 2),
        _integer(epoch, 4),
        _bytes(nonce),
        _bytes(ciphertext),
    )


def decode_tags(raw: bytes) -> tuple[bytes, ...]:
    """The elements of ``array_send``; an array that crag would not write becomes one odd tag."""
    try:
        dimensions, _flags, kind = struct.unpack_from(">iii", raw)
        if dimensions != 1 or kind != BYTEA:
            return (raw,)
        count, _bound = struct.unpack_from(">ii", raw, 12)
        found = []
        position = 20
        for _ in range(count):
            (length,) = _I32.unpack_from(raw, position)
            if length < 0:
                return (raw,)
            position += 4
            found.append(raw[position : position + length])
            position += length
    except struct.error:
        return (raw,)
    return tuple(found)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _integer(value: object, size: int) -> int:
    limit = 1 << (8 * size - 1)
    return value if isinstance(value, int) and -limit <= value < limit else -1


def _between(
    identity: int, version: int, epoch: int, iv: int, vector: int, nonce: int
) -> tuple[bytes, bytes, bytes, bytes]:
    """What stands before id, IV, vector and nonce of such sizes; a vector of none is null."""
    return (
        _START.pack(9, identity),
        _NUMBERS.pack(2, version, 4, epoch, iv),
        _HALVES.pack(vector + 4, vector // 2, 0) if vector else NULL,
        _I32.pack(nonce),
    )


def _ending(tags: Sequence[bytes], expires: int | None) -> bytes:
    moment = NULL if expires is None else _EXPIRES.pack(8, expires)
    return _field(_tags(tags)) + moment


def _tags(tags: Sequence[bytes]) -> bytes:
    if not tags:
        return _NO_TAGS
    head = struct.pack(">iiiii", 1, 0, BYTEA, len(tags), 1)
    return head + b"".join(map(_field, tags))


def halfvec_header(dimension: int) -> bytes:
    """What stands before the halves of a halfvec."""
    return struct.pack(">HH", dimension, 0)


def _usual(records: Sequence[Sequence[Any]]) -> bool:
    """Whether the first columns of the records are as from a table that crag made."""
    columns = zip(*records, strict=True)
    return all(
        set(map(type, column)) == {kind}
        and (not size or all(_integer(value, size) == value for value in set(column)))
        for column, (kind, size) in zip(columns, _ROW_TYPES, strict=False)
    )
