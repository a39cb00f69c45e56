"""All chunks of a transaction to rows at once: one call of the cipher, keys and parts shared."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.labels import label_tags
from crag_core.collection.rows import digest_of, row_name
from crag_core.errors import BadInput
from crag_core.sealing import row_columns, row_ending
from crag_core.store.interface import StoredRow
from crag_core.vectors.checks import unit_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

# As json.dumps makes one for every call; the bytes are the same.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_U32 = struct.Struct(">I").pack
# Bounds what is held at once beside the rows themselves.
_ROWS = 4096


class NewDocument(NamedTuple):
    """A draft, and the id (16 bytes) that it is stored under."""

    id: bytes
    draft: DocumentDraft


class SealedDocument(NamedTuple):
    """A document's rows in reading order, and the id and digest of each."""

    rows: list[StoredRow]
    members: list[tuple[bytes, bytes]]


class _Pending(NamedTuple):
    """One chunk before it is encrypted; ``ending`` as in :func:`row_ending`."""

    id: bytes
    payload: bytes
    vector: NDArray[np.float32]
    tags: tuple[bytes, ...]
    expires: int | None
    ending: bytes


class _Vectors(NamedTuple):
    """What of each vector is sealed, and what of it stands in the columns IV and vector.

    ``columns`` has both as in :func:`row_columns`.
    """

    hidden: list[bytes]
    ivs: list[bytes]
    vectors: list[bytes]
    columns: list[bytes]


def seal_documents(context: Context, documents: Sequence[NewDocument]) -> list[SealedDocument]:
    """The rows of each document.

    In search mode ``enclave`` the vector, as float16, is sealed before the text, and the columns
    for vector and IV stay empty.

    Raises:
        BadInput: a vector of the wrong shape or norm, a text that has no UTF-8 form, metadata that
            have no JSON form, or a label that is no text.
    """
    pending = [row for document in documents for row in _pending(context, document)]
    rows: list[StoredRow] = []
    members: list[tuple[bytes, bytes]] = []
    for start in range(0, len(pending), _ROWS):
        _seal(context, pending[start : start + _ROWS], rows, members)
    found, at = [], 0
    for document in documents:
        end = at + len(document.draft.chunks)
        found.append(SealedDocument(rows[at:end], members[at:end]))
        at = end
    return found


def _pending(context: Context, document: NewDocument) -> list[_Pending]:
    identity, draft = document
    tags = tuple(label_tags(context, draft.labels))
    ending = row_ending(tags, draft.expires)
    payloads = _Payloads(row_name(identity), draft.source)
    ids = context.row_ids(identity, [_utf8(chunk.text, draft.source) for chunk in draft.chunks])
    return [
        _Pending(ids[index], payloads.of(index, chunk), chunk.vector, tags, draft.expires, ending)
        for index, chunk in enumerate(draft.chunks)
    ]


def _seal(
    context: Context,
    pending: Sequence[_Pending],
    rows: list[StoredRow],
    members: list[tuple[bytes, bytes]],
) -> None:
    version, epoch, join = context.row_version, context.profile.epoch, context.binding.joined
    vectors = _vectors(context, pending)
    sealed = context.text_sealer.seal_many(
        (hidden + row.payload, join(row.id, columns, row.ending))
        for row, hidden, columns in zip(pending, vectors.hidden, vectors.columns, strict=True)
    )
    for row, iv, vector, columns, (nonce, ciphertext) in zip(
        pending, vectors.ivs, vectors.vectors, vectors.columns, sealed, strict=True
    ):
        digest = digest_of(version, epoch, columns, nonce, ciphertext, row.ending)
        members.append((row.id, digest))
        rows.append(
            StoredRow(row.id, version, epoch, iv, vector, nonce, ciphertext, row.tags, row.expires)
        )


def _vectors(context: Context, pending: Sequence[_Pending]) -> _Vectors:
    given = [row.vector for row in pending]
    count = len(pending)
    if context.in_enclave:
        plain = unit_matrix(given, context.profile.dimension).astype(">f2")
        none = [b""] * count
        return _Vectors(_lines(plain.view(np.uint8)), none, none, [row_columns(b"", b"")] * count)
    sealed = context.cipher.encrypt(given, [row.id for row in pending])
    halves = sealed.vectors.astype(">f2").view(np.uint8)
    first, second = sealed.ivs.shape[1], halves.shape[1]
    table = np.empty((count, 4 + first + 4 + second), dtype=np.uint8)
    table[:, :4] = np.frombuffer(_U32(first), dtype=np.uint8)
    table[:, 4 : 4 + first] = sealed.ivs
    table[:, 4 + first : 8 + first] = np.frombuffer(_U32(second), dtype=np.uint8)
    table[:, 8 + first :] = halves
    return _Vectors([b""] * count, _lines(sealed.ivs), _lines(halves), _lines(table))


def _lines(table: NDArray[np.uint8]) -> list[bytes]:
    """The bytes of each row of uint8[n, m]."""
    joined, width = table.tobytes(), table.shape[1]
    return [joined[at : at + width] for at in range(0, len(joined), width)]


class _Payloads:
    """The JSON of the rows of one document, of which most is the same in each.

    Args:
        document: its id as text.
        source: its source.
    """

    def __init__(self, document: str, source: str) -> None:
        self._source = source
        self._before_page = f',"source":{_JSON.encode(source)},"page":'
        self._before_index = f',"document":{_JSON.encode(document)},"index":'
        self._heading, self._heading_json = "", '""'

    def of(self, index: int, chunk: ChunkDraft) -> bytes:
        """UTF-8 of the JSON of one row."""
        page = "null" if chunk.page is None else self._json(chunk.page, index)
        if chunk.heading != self._heading:
            self._heading, self._heading_json = chunk.heading, self._json(chunk.heading, index)
        metadata = self._json(dict(chunk.metadata), index) if chunk.metadata else "{}"
        parts = (
            '{"text":',
            self._json(chunk.text, index),
            self._before_page,
            page,
            ',"heading":',
            self._heading_json,
            self._before_index,
            str(index),
            ',"metadata":',
            metadata,
            "}",
        )
        return _utf8("".join(parts), self._source)

    def _json(self, value: Any, index: int) -> str:
        if type(value) is int:
            return str(value)
        try:
            return _JSON.encode(value)
        except (TypeError, ValueError):
            raise BadInput(
                f"The metadata of chunk {index} of {self._source} has no JSON form.",
                hint="Use texts, numbers, true, false, null, lists and objects.",
            ) from None


def _utf8(text: str, source: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(
            f"A text of {source!a} holds half a character and has no UTF-8 form.",
            hint="Read the file with its own encoding.",
        ) from None
