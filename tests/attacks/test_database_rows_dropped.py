"""The database's operator deletes rows and documents, or puts deleted ones back."""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import pytest

from crag_core.collection import Collection
from crag_core.errors import IntegrityViolated
from support.database import Postgres, Tables, draft


@pytest.fixture
def tables(postgres: Postgres, collection: Collection) -> Tables:
    return Tables.of(postgres, collection)


def test_a_deleted_row_is_named(collection: Collection, tables: Tables) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.sql(f"DELETE FROM {{rows}} WHERE id = '{found.rows[2]}'")
    report = collection.verify()
    assert [(each.kind, each.row) for each in report.violations] == [("missing", found.rows[2])]
    assert found.id in report.violations[0].detail
    with pytest.raises(IntegrityViolated, match=found.rows[2]):
        collection.load()
    with pytest.raises(IntegrityViolated, match="missing"):
        collection.chunks_of(found)


def test_all_rows_deleted_are_all_named(collection: Collection, tables: Tables) -> None:
    rows = sorted(row for info in collection.documents() for row in info.rows)
    tables.sql("DELETE FROM {rows}")
    report = collection.verify()
    assert sorted((each.kind, each.row) for each in report.violations) == [
        ("missing", row) for row in rows
    ]


def test_a_deleted_description_is_named_by_the_rows_that_are_left(
    collection: Collection, tables: Tables
) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.sql(f"DELETE FROM {{documents}} WHERE id = '{found.id}'")
    (violation,) = collection.verify().violations
    assert (violation.kind, violation.row) == ("missing", found.id)
    with pytest.raises(IntegrityViolated, match=found.id):
        collection.load()
    with pytest.raises(IntegrityViolated, match="5 documents"):
        list(collection.documents())


def test_a_document_deleted_with_its_rows_is_noticed(
    collection: Collection, tables: Tables
) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.sql(f"DELETE FROM {{documents}} WHERE id = '{found.id}'")
    tables.sql(f"DELETE FROM {{rows}} WHERE id IN ({', '.join(repr(r) for r in found.rows)})")
    (violation,) = collection.verify().violations
    assert violation.kind == "missing"
    assert "1 documents with 3 rows" in violation.detail
    with pytest.raises(IntegrityViolated, match="missing"):
        collection.load()


def test_a_deleted_document_put_back_is_named(collection: Collection, tables: Tables) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.save()
    collection.remove_documents([found.key])
    tables.restore(snapshot=False)
    (violation,) = collection.verify().violations
    assert (violation.kind, violation.row) == ("added", found.id)
    with pytest.raises(IntegrityViolated, match=found.id):
        collection.load()


def test_two_deleted_documents_put_back_are_noticed(collection: Collection, tables: Tables) -> None:
    tables.save()
    collection.remove_documents([collection.document_id(f"doc-{n}.txt") for n in (3, 4)])
    tables.restore(snapshot=False)
    (violation,) = collection.verify().violations
    assert violation.kind == "added"
    assert "2 documents with 6 rows" in violation.detail


def test_rows_of_an_older_version_put_back_are_named(
    collection: Collection, tables: Tables
) -> None:
    old = collection.find("doc-3.txt")
    assert old is not None
    tables.save()
    collection.put_documents([draft(collection, "doc-3.txt", version="2")])
    new = collection.find("doc-3.txt")
    assert new is not None
    tables.sql("INSERT INTO {rows} SELECT * FROM {rows}_old ON CONFLICT DO NOTHING")
    report = collection.verify()
    assert sorted((each.kind, each.row) for each in report.violations) == sorted(
        ("added", row) for row in old.rows
    )
    assert all(new.id in each.detail for each in report.violations)


def test_one_row_put_back_to_an_older_ciphertext_is_named(
    collection: Collection, tables: Tables
) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.save()
    # The same text with another label: the same row id, another ciphertext.
    collection.put_documents([draft(collection, "doc-3.txt", labels={"level": "2"})])
    row = found.rows[0]
    tables.sql(f"DELETE FROM {{rows}} WHERE id = '{row}'")
    tables.sql(f"INSERT INTO {{rows}} SELECT * FROM {{rows}}_old WHERE id = '{row}'")
    (violation,) = collection.verify().violations
    assert (violation.kind, violation.row) == ("rolled_back", row)
    with pytest.raises(IntegrityViolated, match=row):
        collection.load()


def test_a_description_put_back_without_its_rows_is_named(
    collection: Collection, tables: Tables
) -> None:
    found = collection.find("doc-3.txt")
    assert found is not None
    tables.save()
    collection.put_documents([draft(collection, "doc-3.txt", labels={"level": "2"})])
    tables.sql(f"DELETE FROM {{documents}} WHERE id = '{found.id}'")
    tables.sql(f"INSERT INTO {{documents}} SELECT * FROM {{documents}}_old WHERE id = '{found.id}'")
    (violation,) = collection.verify().violations
    assert (violation.kind, violation.row) == ("rolled_back", found.id)


def test_one_document_put_back_with_its_rows_is_noticed(
    collection: Collection, tables: Tables
) -> None:
    tables.save()
    collection.put_documents([draft(collection, "doc-3.txt", version="2")])
    tables.restore(snapshot=False)
    (violation,) = collection.verify().violations
    assert violation.kind == "rolled_back"
    with pytest.raises(IntegrityViolated, match="rolled_back"):
        collection.load()
