"""The owner's own vectors, read back from the collection: stored form, plaintext, labels, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crag_core.collection.context import Context
from crag_core.collection.rows import row_digest, row_name, unseal_row, vector_part
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.store.interface import Generation, Reader, Store, StoredRow

if TYPE_CHECKING:
    from crag_core.collection import Collection, DocumentInfo
    from crag_core.vectors import VectorCipher

Matrix = NDArray[np.float32]

_BATCH = 1000


@dataclass(frozen=True)
class OwnRows:
    """Rows of whole documents, chosen at random.

    ``plain`` float32[n, d] of unit norm; ``stored`` float32[n, d] as the database has them, or None
    where it has no vectors; ``labels`` one value a row for the document and for each attribute that
    tells rows apart; ``row_sizes`` of the rows read and ``document_sizes`` of all documents, both
    bytes of ciphertext; ``total`` rows of the whole collection.
    """

    total: int
    plain: Matrix
    stored: Matrix | None
    labels: Mapping[str, Sequence[str]]
    row_sizes: Sequence[int]
    document_sizes: Sequence[int]


def read_own_rows(
    store: Store,
    collection: Collection,
    *,
    most: int,
    least: int,
    rng: np.random.Generator,
) -> OwnRows:
    """Read up to ``most`` rows; all of them where there are no more.

    Args:
        least: refuse a collection with fewer rows.
        rng: chooses the documents.

    Raises:
        BadInput: fewer rows than ``least``.
        IntegrityViolated: a row is missing or was changed; the message names it.
    """
    infos = list(collection.documents())
    total = sum(info.chunks for info in infos)
    if total < least:
        raise BadInput(
            f"The collection {collection.name} has {total} rows; {least} are needed to measure "
            "anything.",
            hint="Ingest more documents first.",
        )
    members = _chosen(infos, most, rng)
    with store.reader() as reader:
        found = reader.collection(collection.name)
        if found is None:
            raise IntegrityViolated(
                f"The collection {collection.name} vanished while it was read.",
                hint="Run `crag-owner verify`.",
            )
        context = Context(found.id, collection.name, collection.profile, collection.keys)
        generation = context.generation
        rows = _rows(reader, generation, collection.name, members)
        sizes = [len(each.ciphertext) for batch in reader.documents(generation) for each in batch]
    stored, plain = _vectors(context, rows, collection.cipher)
    plain /= np.linalg.norm(plain, axis=1, keepdims=True)
    return OwnRows(
        total=total,
        plain=plain,
        stored=stored,
        labels=_labels([info for info, _, _ in members]),
        row_sizes=[len(row.ciphertext) for row in rows],
        document_sizes=sizes,
    )


_Member = tuple["DocumentInfo", bytes, bytes]


def _chosen(infos: Sequence[DocumentInfo], most: int, rng: np.random.Generator) -> list[_Member]:
    """Document, id and digest of each row to read; whole documents, so that neighbours stay."""
    chosen: list[_Member] = []
    for at in rng.permutation(len(infos)):
        info = infos[int(at)]
        chosen += [(info, identity, digest) for identity, digest in info.members]
        if len(chosen) >= most:
            break
    return chosen[:most]


def _rows(
    reader: Reader, generation: Generation, name: str, members: Sequence[_Member]
) -> list[StoredRow]:
    """The rows in the order of ``members``, each compared with the digest that was sealed."""
    result = []
    for start in range(0, len(members), _BATCH):
        part = members[start : start + _BATCH]
        found = {row.id: row for row in reader.rows_by_id(generation, [each[1] for each in part])}
        for _, identity, digest in part:
            row = found.get(identity)
            if row is None or row_digest(row) != digest:
                what = "is missing" if row is None else "was changed"
                raise IntegrityViolated(
                    f"The row {row_name(identity)} of the collection {name} {what} in the "
                    "database.",
                    hint="Run `crag-owner verify` to see everything that was changed.",
                    details={"collection": name, "row": row_name(identity)},
                )
            result.append(row)
    return result


def _vectors(
    context: Context, rows: Sequence[StoredRow], cipher: VectorCipher
) -> tuple[Matrix | None, Matrix]:
    """Stored vectors, or None where they are sealed, and plaintext ones."""
    shape = (len(rows), context.profile.dimension)
    if context.in_enclave:
        sealed = b"".join(vector_part(context, unseal_row(context, row)) for row in rows)
        return None, np.frombuffer(sealed, dtype=">f2").reshape(shape).astype(np.float32)
    stored = np.frombuffer(b"".join(row.vector for row in rows), dtype=">f2").reshape(shape)
    ivs = np.frombuffer(b"".join(row.iv for row in rows), dtype=np.uint8).reshape(len(rows), -1)
    plain = cipher.decrypt(stored.astype(np.float16), ivs)
    return stored.astype(np.float32), plain


def _labels(infos: Sequence[DocumentInfo]) -> dict[str, list[str]]:
    columns = {"document": [info.id for info in infos]}
    for name in sorted({name for info in infos for name in info.labels}):
        columns[f"label {name}"] = [info.labels.get(name, "") for info in infos]
    # A label that all rows share, or that no two rows share, has no neighbourhood to leak.
    return {name: column for name, column in columns.items() if 1 < len(set(column)) < len(column)}
