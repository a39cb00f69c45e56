"""Documents of one epoch to documents of the next: opened, put on the grid, sealed anew.

Texts, sources, labels and dates stay as they are. Ids, tags, seals, rotation and noise follow from
the new epoch's keys. In search mode ``enclave`` the sealed float16 vector is carried over as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.documents import DocumentInfo, seal_document
from crag_core.collection.labels import label_tags
from crag_core.collection.rows import (
    row_digest,
    row_name,
    text_part,
    unseal_row,
    vector_part,
)
from crag_core.errors import IntegrityViolated
from crag_core.store.interface import StoredDocument, StoredRow
from crag_core.vectors import grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Member of a row's sealed JSON: coordinates that the ciphertext alone does not give back exactly.
EXCEPTIONS = "exact"


@dataclass(frozen=True)
class Translated:
    """A document in the new epoch, with its rows in reading order."""

    document: StoredDocument
    rows: list[StoredRow]
    members: list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class _Opened:
    row: StoredRow
    content: dict[str, Any]
    hidden: bytes


def translate(
    old: Context, new: Context, info: DocumentInfo, rows: Mapping[bytes, StoredRow]
) -> Translated:
    """A document and its rows under the keys and parameters of ``new``.

    Args:
        info: its opened description in ``old``.
        rows: by id; all of its rows are among them.

    Raises:
        IntegrityViolated: a row is missing or was changed; the message names it.
    """
    identity = new.document_id(info.source)
    opened = [_open(old, rows.get(key), key, digest) for key, digest in info.members]
    ids = new.row_ids(identity, (each.content["text"].encode("utf-8") for each in opened))
    tags = tuple(label_tags(new, info.labels))
    made = _seal(old, new, opened, ids, identity, tags) if opened else []
    members = [(row.id, row_digest(row)) for row in made]
    moved = replace(info, id=row_name(identity), members=members)
    return Translated(seal_document(new, moved), made, members)


def _open(old: Context, row: StoredRow | None, identity: bytes, digest: bytes) -> _Opened:
    try:
        if row is not None and row_digest(row) == digest:
            payload = unseal_row(old, row)
            return _Opened(row, json.loads(text_part(old, payload)), vector_part(old, payload))
    except (IntegrityViolated, ValueError, OverflowError):
        pass
    name = row_name(identity)
    what, kind = ("is missing", "missing") if row is None else ("was changed", "tampered")
    raise IntegrityViolated(
        f"The row {name} of the collection {old.name} {what} in the database.",
        hint="The collection stays in its epoch. Run `crag-owner verify` to see everything that "
        "was changed.",
        details={"collection": old.name, "row": name, "violation": kind},
    )


def _seal(
    old: Context,
    new: Context,
    opened: Sequence[_Opened],
    ids: Sequence[bytes],
    document: bytes,
    tags: tuple[bytes, ...],
) -> list[StoredRow]:
    hidden, columns, exceptions = _vectors(old, new, opened, ids)
    nonces, texts = new.text_sealer.seal_many(
        [
            hidden[at] + _payload(each.content, document, exceptions[at])
            for at, each in enumerate(opened)
        ],
        (
            new.binding.aad(
                row_id=ids[at],
                iv=columns[at][0],
                vector=columns[at][1],
                tags=tags,
                expires=each.row.expires,
            )
            for at, each in enumerate(opened)
        ),
    )
    version, epoch = new.row_version, new.profile.epoch
    return [
        StoredRow(
            ids[at],
            version,
            epoch,
            *columns[at],
            nonces[at],
            texts[at],
            tags,
            each.row.expires,
        )
        for at, each in enumerate(opened)
    ]


def _vectors(
    old: Context, new: Context, opened: Sequence[_Opened], ids: Sequence[bytes]
) -> tuple[list[bytes], list[tuple[bytes, bytes]], list[grid.Exceptions]]:
    """What of each vector is sealed, what of it stands in the columns, and what is recorded."""
    nothing: list[grid.Exceptions] = [[] for _ in opened]
    if old.in_enclave and new.in_enclave:
        return [each.hidden for each in opened], [(b"", b"")] * len(opened), nothing
    numbers = exact_points(old, opened)
    if new.in_enclave:
        halves = grid.vectors(numbers).astype(">f2")
        return [half.tobytes() for half in halves], [(b"", b"")] * len(opened), nothing
    sealed, recorded = grid.encrypt(new.cipher, numbers, ids)
    stored = sealed.vectors.astype(">f2")
    columns = [(iv.tobytes(), half.tobytes()) for iv, half in zip(sealed.ivs, stored, strict=True)]
    return [b""] * len(opened), columns, recorded


def exact_points(old: Context, opened: Sequence[_Opened]) -> NDArray[np.int32]:
    """The points on the grid of opened rows, int32[n, d]."""
    size = (len(opened), old.profile.dimension)
    if old.in_enclave:
        halves = np.frombuffer(b"".join(each.hidden for each in opened), dtype=">f2")
        return grid.points(halves.reshape(size).astype(np.float32))
    vectors = np.frombuffer(b"".join(each.row.vector for each in opened), dtype=">f2")
    ivs = np.frombuffer(b"".join(each.row.iv for each in opened), dtype=np.uint8)
    return grid.recover(
        old.cipher,
        vectors.reshape(size).astype(np.float16),
        ivs.reshape(len(opened), -1),
        [
            [(int(at), int(point)) for at, point in each.content.get(EXCEPTIONS, ())]
            for each in opened
        ],
    )


def row_points(context: Context, rows: Sequence[StoredRow]) -> NDArray[np.int32]:
    """The points on the grid of stored rows, int32[n, d]: what a rotation carries on.

    Raises:
        IntegrityViolated: a row was changed.
    """
    return exact_points(context, [_open(context, row, row.id, row_digest(row)) for row in rows])


def _payload(content: Mapping[str, Any], document: bytes, exceptions: grid.Exceptions) -> bytes:
    made = {**content, "document": row_name(document)}
    made.pop(EXCEPTIONS, None)
    if exceptions:
        made[EXCEPTIONS] = exceptions
    return json.dumps(made, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
