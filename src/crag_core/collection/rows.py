"""A row opened; the digest by which it is known."""

from __future__ import annotations

import functools
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crag_core.collection.context import Context
from crag_core.errors import IntegrityViolated
from crag_core.keys import lp
from crag_core.sealing import NONCE_BYTES, row_columns, row_ending
from crag_core.store.interface import StoredRow

_DIGEST_LABEL = lp(b"crag/row-digest/v1")
_ROW = lp(b"row")
_U32 = struct.Struct(">I").pack
# What stands before an id of 16 bytes and before a digest in an element of the set hash.
_ROW_ID, _ROW_DIGEST = _ROW + _U32(16), _U32(32)
_NUMBERS = struct.Struct(">hi").pack
_JSON = json.JSONDecoder()


@dataclass(frozen=True)
class RowContent:
    """A row opened. ``document_id`` and ``chunk_id`` are UUIDs as text."""

    chunk_id: str
    document_id: str
    index: int
    text: str
    source: str
    page: int | None = None
    heading: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


def row_digest(row: StoredRow) -> bytes:
    """SHA-256 over every column but the id, so that a row that was moved is recognised."""
    return digest_of(
        digest_head(row.version, row.epoch),
        row_columns(row.iv, row.vector),
        row.nonce,
        row.ciphertext,
        row_ending(row.tags, row.expires),
    )


def row_digests(rows: Sequence[StoredRow]) -> list[bytes]:
    """As :func:`row_digest` of each row; faster than one by one."""
    head, ending = functools.lru_cache(digest_head), functools.lru_cache(row_ending)
    return [
        digest_of(
            head(version, epoch), row_columns(iv, vector), nonce, ciphertext, ending(tags, expires)
        )
        for _, version, epoch, iv, vector, nonce, ciphertext, tags, expires in rows
    ]


def digest_head(version: int, epoch: int) -> bytes:
    """What the digests of all rows of a format and an epoch begin with."""
    return _DIGEST_LABEL + _NUMBERS(version, epoch)


def digests_of(
    head: bytes,
    ivs: Sequence[bytes],
    vectors: Sequence[bytes],
    nonces: Sequence[bytes],
    ciphertexts: Sequence[bytes],
    endings: Sequence[bytes],
) -> list[bytes]:
    """As :func:`digest_of` of each row under one head, with :func:`row_ending`; faster than one by
    one.

    IVs are of one length, vectors of one length, and nonces as :class:`Sealer` makes them.
    """
    if not ivs:
        return []
    sha, join, nonce_size = hashlib.sha256, b"".join, _U32(NONCE_BYTES)
    start, between = head + _U32(len(ivs[0])), _U32(len(vectors[0]))
    return [
        sha(
            join((start, iv, between, vector, nonce_size, nonce, _U32(len(text)), text, ending))
        ).digest()
        for iv, vector, nonce, text, ending in zip(
            ivs, vectors, nonces, ciphertexts, endings, strict=True
        )
    ]


def digest_of(head: bytes, columns: bytes, nonce: bytes, ciphertext: bytes, ending: bytes) -> bytes:
    """As :func:`row_digest`, from parts that rows share: :func:`digest_head`, :func:`row_columns`
    and :func:`row_ending`.
    """
    return hashlib.sha256(
        b"".join(
            (
                head,
                columns,
                _U32(len(nonce)),
                nonce,
                _U32(len(ciphertext)),
                ciphertext,
                ending,
            )
        )
    ).digest()


def row_element(identity: bytes, digest: bytes) -> bytes:
    """What stands for a row in the set hash."""
    if len(identity) == 16 and len(digest) == 32:
        return b"".join((_ROW_ID, identity, _ROW_DIGEST, digest))
    # A database may hand out anything.
    return _ROW + lp(identity) + lp(digest)


def row_elements(members: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """As :func:`row_element` of each id and digest that are ours; faster than one by one."""
    join, before, between = b"".join, _ROW_ID, _ROW_DIGEST
    return [join((before, identity, between, digest)) for identity, digest in members]


def row_name(identity: bytes) -> str:
    """The id as text (RFC 9562, section 4); what is not 16 bytes long is shown in hexadecimal."""
    text = identity.hex()
    if len(identity) != 16:
        return text or "none"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def open_row(context: Context, row: StoredRow) -> RowContent:
    """The content of a row.

    Raises:
        IntegrityViolated: anything of the row was changed, or it is another collection's.
    """
    return read_row(context, row, authenticated(context, row))


def authenticated(context: Context, row: StoredRow) -> bytes:
    """The payload of :func:`unseal_row`, for :func:`read_row`.

    Raises:
        IntegrityViolated: as :func:`open_row`; the message names the row.
    """
    try:
        return unseal_row(context, row)
    except (IntegrityViolated, OverflowError):
        raise _tampered(context, row) from None


def authenticated_row(context: Context, row: StoredRow) -> tuple[bytes, bytes]:
    """The payload as by :func:`authenticated`, and the digest as by :func:`row_digest`.

    Raises:
        IntegrityViolated: as :func:`open_row`; the message names the row.
    """
    identity, version, epoch, iv, vector, nonce, ciphertext, tags, expires = row
    try:
        if version != context.row_version or epoch != context.profile.epoch:
            raise _tampered(context, row)
        columns, ending = row_columns(iv, vector), row_ending(tags, expires)
        aad = context.binding.joined(identity, columns, ending)
        payload = context.text_sealer.unseal(nonce, ciphertext, aad)
    except (IntegrityViolated, OverflowError):
        raise _tampered(context, row) from None
    return payload, digest_of(digest_head(version, epoch), columns, nonce, ciphertext, ending)


def authenticated_all(context: Context, rows: Sequence[StoredRow]) -> list[bytes]:
    """The payloads of rows, each as by :func:`authenticated`; faster than one by one.

    Raises:
        IntegrityViolated: as :func:`open_row`; the message names the first row.
    """
    joined, unseal = context.binding.joined, context.text_sealer.unseal
    form = context.row_version, context.profile.epoch
    ending = functools.lru_cache(row_ending)
    payloads = []
    for row in rows:
        identity, version, epoch, iv, vector, nonce, ciphertext, tags, expires = row
        try:
            if (version, epoch) != form:
                raise _tampered(context, row)
            aad = joined(identity, row_columns(iv, vector), ending(tags, expires))
            payloads.append(unseal(nonce, ciphertext, aad))
        except (IntegrityViolated, OverflowError):
            raise _tampered(context, row) from None
    return payloads


def read_row(context: Context, row: StoredRow, payload: bytes) -> RowContent:
    """The content in an authenticated payload.

    Raises:
        IntegrityViolated: it is not what crag writes.
    """
    try:
        return decode(row.id, text_part(context, payload))
    except (IntegrityViolated, ValueError, KeyError, TypeError, OverflowError):
        raise _tampered(context, row) from None


def _tampered(context: Context, row: StoredRow) -> IntegrityViolated:
    name = row_name(row.id)
    return IntegrityViolated(
        f"The row {name} of the collection {context.name} was tampered with.",
        hint="Run `crag-owner verify` to see everything that was changed.",
        details={"collection": context.name, "row": name, "violation": "tampered"},
    )


def unseal_row(context: Context, row: StoredRow) -> bytes:
    """The sealed payload of a row, authenticated together with all other columns.

    Raises:
        IntegrityViolated: it does not open.
        OverflowError: a column has a value that crag does not write.
    """
    if row.version != context.row_version or row.epoch != context.profile.epoch:
        raise IntegrityViolated("The row has another format or epoch than its collection.")
    aad = context.binding.aad(
        row_id=row.id, iv=row.iv, vector=row.vector, tags=row.tags, expires=row.expires
    )
    return context.text_sealer.unseal(row.nonce, row.ciphertext, aad)


def opened(context: Context, row: StoredRow) -> bytes | None:
    """The payload of :func:`unseal_row`, or None where the row does not open."""
    try:
        return unseal_row(context, row)
    except (IntegrityViolated, OverflowError):
        return None


def opens(context: Context, row: StoredRow) -> bool:
    """Whether a row opens."""
    return opened(context, row) is not None


def text_part(context: Context, payload: bytes) -> bytes:
    """The JSON in an authenticated payload, without the vector that may stand before it."""
    return payload[context.sealed_vector_bytes :]


def vector_part(context: Context, payload: bytes) -> bytes:
    """The vector in an authenticated payload: float16[d], big-endian; empty in mode database."""
    return payload[: context.sealed_vector_bytes]


def decode(identity: bytes, text: bytes) -> RowContent:
    """The content of the row ``identity`` from its authenticated JSON."""
    found = _JSON.decode(text.decode("utf-8"))
    return RowContent(
        chunk_id=row_name(identity),
        document_id=found["document"],
        index=found["index"],
        text=found["text"],
        source=found["source"],
        page=found["page"],
        heading=found["heading"],
        metadata=found["metadata"],
    )
