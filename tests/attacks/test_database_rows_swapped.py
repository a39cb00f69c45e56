"""The database's operator exchanges rows, or parts of rows, by SQL."""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import pytest

from crag_core.collection import Collection
from crag_core.errors import IntegrityViolated
from support.database import Postgres, Tables

PARTS = {
    "everything": "version, epoch, iv, emb, nonce, ct, tags, expires",
    "text": "nonce, ct",
    "vector": "emb",
    "vector and IV": "iv, emb",
    "IV": "iv",
}


@pytest.fixture
def tables(postgres: Postgres, collection: Collection) -> Tables:
    return Tables.of(postgres, collection)


@pytest.fixture
def pair(collection: Collection) -> tuple[str, str]:
    """A row of doc-1.txt and one of doc-4.txt."""
    one, two = collection.find("doc-1.txt"), collection.find("doc-4.txt")
    assert one is not None
    assert two is not None
    return one.rows[0], two.rows[2]


@pytest.mark.parametrize("columns", PARTS.values(), ids=PARTS.keys())
def test_two_exchanged_rows_are_both_named(
    collection: Collection, tables: Tables, pair: tuple[str, str], columns: str
) -> None:
    one, two = pair
    renamed = ", ".join(f"o.{name.strip()}" for name in columns.split(","))
    tables.sql(
        f"UPDATE {{rows}} r SET ({columns}) = ROW({renamed}) FROM {{rows}} o"
        f" WHERE (r.id = '{one}' AND o.id = '{two}') OR (r.id = '{two}' AND o.id = '{one}')"
    )
    report = collection.verify()
    assert sorted((each.kind, each.row) for each in report.violations) == sorted(
        [("swapped", one), ("swapped", two)]
    )
    details = {each.row: each.detail for each in report.violations}
    assert two in details[one]
    assert one in details[two]
    with pytest.raises(IntegrityViolated, match="swapped"):
        collection.load()


def test_three_rows_in_a_ring_are_all_named(collection: Collection, tables: Tables) -> None:
    found = collection.find("doc-2.txt")
    assert found is not None
    one, two, three = found.rows
    columns = PARTS["everything"]
    renamed = ", ".join(f"o.{name.strip()}" for name in columns.split(","))
    tables.sql(
        f"UPDATE {{rows}} r SET ({columns}) = ROW({renamed}) FROM {{rows}} o"
        f" WHERE (r.id, o.id) IN (('{one}', '{two}'), ('{two}', '{three}'), ('{three}', '{one}'))"
    )
    report = collection.verify()
    assert sorted((each.kind, each.row) for each in report.violations) == sorted(
        ("swapped", row) for row in found.rows
    )


def test_a_row_overwritten_with_another_is_named(
    collection: Collection, tables: Tables, pair: tuple[str, str]
) -> None:
    one, two = pair
    columns = PARTS["everything"]
    tables.sql(
        f"UPDATE {{rows}} SET ({columns}) = (SELECT {columns} FROM {{rows}} WHERE id = '{two}')"
        f" WHERE id = '{one}'"
    )
    (violation,) = collection.verify().violations
    assert (violation.kind, violation.row) == ("tampered", one)
    assert two in violation.detail


def test_many_exchanged_texts_are_never_taken_for_good(
    collection: Collection, tables: Tables
) -> None:
    rows = [row for info in collection.documents() for row in info.rows]
    pairs = list(zip(rows[::2], rows[1::2], strict=True))
    for one, two in pairs:
        tables.sql(
            "UPDATE {rows} r SET (nonce, ct) = ROW(o.nonce, o.ct) FROM {rows} o"
            f" WHERE (r.id, o.id) IN (('{one}', '{two}'), ('{two}', '{one}'))"
        )
    report = collection.verify()
    assert sorted((each.kind, each.row) for each in report.violations) == sorted(
        ("swapped", row) for row in rows
    )


def test_two_exchanged_documents_are_both_named(collection: Collection, tables: Tables) -> None:
    one, two = (str(collection.find(f"doc-{n}.txt").id) for n in (0, 5))  # type: ignore[union-attr]
    tables.sql(
        "UPDATE {documents} r SET (nonce, ct) = ROW(o.nonce, o.ct) FROM {documents} o"
        f" WHERE (r.id, o.id) IN (('{one}', '{two}'), ('{two}', '{one}'))"
    )
    report = collection.verify()
    assert sorted((each.kind, each.row) for each in report.violations) == sorted(
        [("swapped", one), ("swapped", two)]
    )
    with pytest.raises(IntegrityViolated, match=one):
        collection.find("doc-0.txt")


def test_two_exchanged_collections_are_refused(
    collection: Collection, tables: Tables, postgres: Postgres
) -> None:
    from crag_core.keys import MasterKey
    from support.database import draft, new_collection

    store = collection._store
    other = new_collection(store, MasterKey.generate())  # type: ignore[arg-type]
    other.put_documents([draft(other, "x.txt")])
    foreign = Tables.of(postgres, other)
    tables.sql(
        "UPDATE crag.snapshots r SET (body, signature, state) = ROW(o.body, o.signature, o.state)"
        f" FROM crag.snapshots o WHERE r.collection_id = {tables.number}"
        f" AND o.collection_id = {foreign.number}"
    )
    with pytest.raises(IntegrityViolated):
        collection.snapshot()
    with pytest.raises(IntegrityViolated, match="snapshot"):
        collection.load()
