"""One chunk to one row and back; the digest by which a row is known."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.drafts import ChunkDraft
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import lp
from crag_core.store.interface import StoredRow
from crag_core.vectors.checks import unit_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DIGEST_LABEL = lp(b"crag/row-digest/v1")
_ROW = lp(b"row")
# As json.dumps makes one for every call; the bytes are the same.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


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
    tags = b"".join(map(lp, row.tags))
    expires = b"" if row.expires is None else row.expires.to_bytes(8, "big", signed=True)
    return hashlib.sha256(
        b"".join(
            (
                _DIGEST_LABEL,
                row.version.to_bytes(2, "big", signed=True),
                row.epoch.to_bytes(4, "big", signed=True),
                lp(row.iv),
                lp(row.vector),
                lp(row.nonce),
                lp(row.ciphertext),
                lp(tags),
                lp(expires),
            )
        )
    ).digest()


def row_element(identity: bytes, digest: bytes) -> bytes:
    """What stands for a row in the set hash."""
    return _ROW + lp(identity) + lp(digest)


def row_name(identity: bytes) -> str:
    """The id as text; what is not 16 bytes long is shown in hexadecimal."""
    return str(uuid.UUID(bytes=identity)) if len(identity) == 16 else identity.hex() or "none"


def seal_chunks(
    context: Context,
    *,
    document: bytes,
    source: str,
    chunks: Sequence[ChunkDraft],
    tags: Sequence[bytes],
    expires: int | None,
) -> list[StoredRow]:
    """The rows of a document, in reading order.

    In search mode ``enclave`` the vector, as float16, is sealed before the text, and the columns
    for vector and IV stay empty.

    Raises:
        BadInput: a vector of the wrong shape or norm, or a text that has no UTF-8 form.
    """
    if not chunks:
        return []
    ids = [
        context.row_id(document, index, _utf8(chunk.text, source))
        for index, chunk in enumerate(chunks)
    ]
    stacked = np.stack([chunk.vector for chunk in chunks])
    hidden, columns = _vectors(context, stacked, ids)
    kept, name = tuple(tags), row_name(document)
    parts = [(ids[index], *columns[index]) for index in range(len(chunks))]
    texts = context.text_sealer.seal_many(
        (
            hidden[index] + _payload(name, source, index, chunk),
            context.binding.aad(
                row_id=parts[index][0],
                iv=parts[index][1],
                vector=parts[index][2],
                tags=kept,
                expires=expires,
            ),
        )
        for index, chunk in enumerate(chunks)
    )
    version, epoch = context.row_version, context.profile.epoch
    return [
        StoredRow(identity, version, epoch, iv, vector, nonce, ciphertext, kept, expires)
        for (identity, iv, vector), (nonce, ciphertext) in zip(parts, texts, strict=True)
    ]


def _vectors(
    context: Context, vectors: NDArray[np.float32], ids: Sequence[bytes]
) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """What of each vector is sealed, and what of it stands in the columns IV and vector."""
    if context.in_enclave:
        plain = unit_matrix(vectors, context.profile.dimension).astype(">f2")
        return [vector.tobytes() for vector in plain], [(b"", b"")] * len(plain)
    sealed = context.cipher.encrypt(vectors, ids)
    halves = sealed.vectors.astype(">f2")
    columns = [(iv.tobytes(), half.tobytes()) for iv, half in zip(sealed.ivs, halves, strict=True)]
    return [b""] * len(columns), columns


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
    found = json.loads(text)
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


def _payload(document: str, source: str, index: int, chunk: ChunkDraft) -> bytes:
    content = {
        "text": chunk.text,
        "source": source,
        "page": chunk.page,
        "heading": chunk.heading,
        "document": document,
        "index": index,
        "metadata": dict(chunk.metadata),
    }
    try:
        text = _JSON.encode(content)
    except (TypeError, ValueError):
        raise BadInput(
            f"The metadata of chunk {index} of {source} has no JSON form.",
            hint="Use texts, numbers, true, false, null, lists and objects.",
        ) from None
    return _utf8(text, source)


def _utf8(text: str, source: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(
            f"A text of {source!a} holds half a character and has no UTF-8 form.",
            hint="Read the file with its own encoding.",
        ) from None
