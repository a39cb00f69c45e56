"""All chunks of a transaction to rows at once: one call of the cipher, keys and parts shared."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.drafts import DocumentDraft
from crag_core.collection.labels import label_tags
from crag_core.collection.payloads import encoded_texts, payloads
from crag_core.collection.rows import digest_head, digest_of
from crag_core.sealing import row_columns, row_ending
from crag_core.store.interface import StoredRow
from crag_core.vectors.checks import unit_matrix

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


@dataclass
class _Pending:
    """Chunks before they are encrypted, one list for each property; ``endings`` as in
    :func:`row_ending`.
    """

    ids: list[bytes] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    vectors: list[NDArray[np.float32]] = field(default_factory=list)
    tags: list[tuple[bytes, ...]] = field(default_factory=list)
    expires: list[int | None] = field(default_factory=list)
    endings: list[bytes] = field(default_factory=list)

    def add(self, context: Context, document: NewDocument) -> None:
        identity, draft = document
        count = len(draft.chunks)
        texts = encoded_texts(draft)
        tags = tuple(label_tags(context, draft.labels))
        self.ids += context.row_ids(identity, texts)
        self.payloads += payloads(identity, draft, texts)
        self.vectors += [chunk.vector for chunk in draft.chunks]
        self.tags += [tags] * count
        self.expires += [draft.expires] * count
        self.endings += [row_ending(tags, draft.expires)] * count

    def part(self, start: int, end: int) -> _Pending:
        return _Pending(*(getattr(self, each.name)[start:end] for each in fields(self)))


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
    pending = _Pending()
    for document in documents:
        pending.add(context, document)
    rows: list[StoredRow] = []
    members: list[tuple[bytes, bytes]] = []
    for start in range(0, len(pending.ids), _ROWS):
        _seal(context, pending.part(start, start + _ROWS), rows, members)
    found, at = [], 0
    for document in documents:
        end = at + len(document.draft.chunks)
        found.append(SealedDocument(rows[at:end], members[at:end]))
        at = end
    return found


def _seal(
    context: Context,
    pending: _Pending,
    rows: list[StoredRow],
    members: list[tuple[bytes, bytes]],
) -> None:
    """Add the rows, and the id and digest of each."""
    ids, endings = pending.ids, pending.endings
    version, epoch = repeat(context.row_version), repeat(context.profile.epoch)
    hidden, ivs, vectors, columns = _vectors(context, pending)
    inside = (
        map(bytes.__add__, hidden, pending.payloads) if context.in_enclave else pending.payloads
    )
    bound = map(context.binding.joined, ids, columns, endings)
    nonces, texts = zip(
        *context.text_sealer.seal_many(zip(inside, bound, strict=True)), strict=True
    )
    head = digest_head(context.row_version, context.profile.epoch)
    digests = map(digest_of, repeat(head), columns, nonces, texts, endings)
    members += zip(ids, digests, strict=True)
    rows += map(
        StoredRow, ids, version, epoch, ivs, vectors, nonces, texts, pending.tags, pending.expires
    )


def _vectors(context: Context, pending: _Pending) -> _Vectors:
    count = len(pending.ids)
    if context.in_enclave:
        plain = unit_matrix(pending.vectors, context.profile.dimension).astype(">f2")
        none = [b""] * count
        return _Vectors(_lines(plain.view(np.uint8)), none, none, [row_columns(b"", b"")] * count)
    sealed = context.cipher.encrypt(pending.vectors, pending.ids)
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
