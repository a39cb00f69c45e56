"""Reading rows back where the database stores no vectors, as in search mode enclave."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from crag_core.collection import DocumentInfo, RowContent
from crag_core.collection.rows import row_digest
from crag_core.errors import IntegrityViolated
from crag_core.store.interface import StoredDocument, StoredRow
from crag_owner.calibrate.reading import OwnRows, read_own_rows


def _row(number: int) -> StoredRow:
    return StoredRow(
        bytes([number]) * 16, 1, 1, b"i" * 12, b"", b"n" * 12, bytes(256 * number), (), None
    )


class _Store:
    """Three rows of two documents; the second row can be withheld or changed."""

    def __init__(self) -> None:
        self.rows = {row.id: row for row in map(_row, (1, 2, 3))}

    @contextmanager
    def reader(self) -> Iterator[Any]:
        yield self

    def collection(self, name: str) -> Any:
        return SimpleNamespace(id=1, name=name)

    def rows_by_id(self, _generation: object, ids: Sequence[bytes]) -> list[StoredRow]:
        return [self.rows[each] for each in reversed(ids) if each in self.rows]

    def documents(self, _generation: object) -> Iterator[list[StoredDocument]]:
        yield [StoredDocument(bytes(16), 1, 1, bytes(12), bytes(512))]


class _Collection:
    name = "sealed"
    profile = SimpleNamespace(epoch=1, dimension=3)

    def __init__(self, store: _Store) -> None:
        rows = list(store.rows.values())
        self._infos = [self._info(1, rows[:2]), self._info(2, rows[2:])]

    @staticmethod
    def _info(number: int, rows: Sequence[StoredRow]) -> DocumentInfo:
        members = [(row.id, row_digest(row)) for row in rows]
        identity = str(uuid.UUID(bytes=bytes([number]) * 16))
        labels = {"shelf": str(number)}
        return DocumentInfo(identity, f"{number}.txt", labels, "", "", None, b"", members)

    def documents(self) -> Iterator[DocumentInfo]:
        return iter(self._infos)

    def chunks_of(self, info: DocumentInfo) -> list[RowContent]:
        return [
            RowContent(str(uuid.UUID(bytes=identity)), info.id, at, f"text {identity[0]}", "s")
            for at, (identity, _) in enumerate(info.members)
        ]


def _embed(texts: Sequence[str]) -> Any:
    return np.asarray([[float(text[-1]), 2.0, 0.0] for text in texts], dtype=np.float32)


def _read(store: _Store, collection: _Collection) -> OwnRows:
    return read_own_rows(
        store,  # type: ignore[arg-type]
        collection,  # type: ignore[arg-type]
        most=10,
        least=1,
        rng=np.random.default_rng(0),
        embed=_embed,
    )


def test_sealed_vectors_come_from_the_texts_each_beside_its_own_row() -> None:
    store = _Store()
    found = _read(store, _Collection(store))
    assert found.stored is None
    assert np.allclose(np.linalg.norm(found.plain, axis=1), 1.0)
    numbers = [round(2 * float(row[0] / row[1])) for row in found.plain]
    assert sorted(numbers) == [1, 2, 3]
    assert found.row_sizes == [256 * number for number in numbers]
    assert found.document_sizes == [512]
    shelves = dict(zip(numbers, found.labels["label shelf"], strict=True))
    assert shelves == {1: "1", 2: "1", 3: "2"}


def test_missing_and_changed_rows_are_refused_by_name() -> None:
    store = _Store()
    collection = _Collection(store)
    second = bytes([2]) * 16
    kept = store.rows.pop(second)
    with pytest.raises(IntegrityViolated, match=f"{uuid.UUID(bytes=second)}.*is missing"):
        _read(store, collection)
    store.rows[second] = kept._replace(nonce=b"m" * 12)
    with pytest.raises(IntegrityViolated, match=f"{uuid.UUID(bytes=second)}.*was changed"):
        _read(store, collection)
