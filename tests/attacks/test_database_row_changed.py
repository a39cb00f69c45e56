"""The database's operator changes rows by SQL."""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import uuid

import pytest

from crag_core.collection import Collection, Violation
from crag_core.errors import CragError, IntegrityViolated
from support.database import DIMENSION, Postgres, Tables, draft, vector_of

CHANGES = {
    "text": "ct = set_byte(ct, 7, 255 - get_byte(ct, 7))",
    "text's last byte": "ct = substring(ct for length(ct) - 1) || '\\x99'",
    "text cut short": "ct = substring(ct for length(ct) - 256)",
    "text removed": "ct = ''",
    "text made longer": "ct = ct || '\\x00'",
    "nonce": "nonce = set_byte(nonce, 0, 255 - get_byte(nonce, 0))",
    "nonce removed": "nonce = ''",
    "IV": "iv = set_byte(iv, 11, 255 - get_byte(iv, 11))",
    "IV removed": "iv = ''",
    "vector": f"emb = ('[1' || repeat(',0', {DIMENSION - 1}) || ']')::halfvec",
    "vector's last bit": "emb = emb + ('[0.0625' || repeat(',0', 23) || ']')::halfvec",
    "vector removed": "emb = NULL",
    "version": "version = 2",
    "epoch": "epoch = 2",
    "epoch's sign": "epoch = -1",
    "tag added": "tags = ARRAY['\\x00112233445566778899aabbccddeeff'::bytea]",
    "tag of NULL": "tags = ARRAY[NULL::bytea]",
    "tags in two dimensions": "tags = ARRAY[['\\x00'::bytea], ['\\x01'::bytea]]",
    "expiry added": "expires = 4102444800",
    "expiry at the limit": "expires = 9223372036854775807",
}  # fmt: skip


@pytest.fixture
def tables(postgres: Postgres, collection: Collection) -> Tables:
    return Tables.of(postgres, collection)


@pytest.fixture
def row(collection: Collection) -> str:
    """The middle row of doc-3.txt."""
    found = collection.find("doc-3.txt")
    assert found is not None
    return found.rows[1]


def found_in(collection: Collection) -> list[tuple[str, str]]:
    report = collection.verify()
    assert report.ok is (not report.violations)
    return sorted((each.kind, each.row) for each in report.violations)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_row_is_named_and_never_served(
    collection: Collection, tables: Tables, row: str, change: str
) -> None:
    tables.sql(f"UPDATE {{rows}} SET {change} WHERE id = '{row}'")
    assert found_in(collection) == [("tampered", row)]
    with pytest.raises(IntegrityViolated) as refused:
        collection.load()
    assert refused.value.exit_code == 12
    assert row in refused.value.message
    assert "tampered" in refused.value.message
    assert refused.value.details["violations"][0]["row"] == row
    with pytest.raises(IntegrityViolated, match=row):
        collection.search(vector_of("passage 1 of doc-3.txt in version 1"), k=18)
    with pytest.raises(IntegrityViolated, match=row):
        collection.rows_of(collection.document_id("doc-3.txt"))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_row_is_not_built_upon(
    collection: Collection, tables: Tables, row: str, change: str
) -> None:
    tables.sql(f"UPDATE {{rows}} SET {change} WHERE id = '{row}'")
    before = collection.snapshot()
    with pytest.raises(IntegrityViolated, match=row):
        collection.put_documents([draft(collection, "doc-3.txt", version="2")])
    with pytest.raises(IntegrityViolated, match=row):
        collection.remove_documents([collection.document_id("doc-3.txt")])
    assert collection.snapshot() == before


def test_a_changed_id_is_named_by_the_id_that_it_had(
    collection: Collection, tables: Tables, row: str
) -> None:
    new = str(uuid.uuid4())
    tables.sql(f"UPDATE {{rows}} SET id = '{new}' WHERE id = '{row}'")
    report = collection.verify()
    assert report.violations == [
        Violation("tampered", row, f"the id of this row was changed to {new}")
    ]
    with pytest.raises(IntegrityViolated, match=row):
        collection.load()
    with pytest.raises(IntegrityViolated, match=new):
        collection.search(vector_of("passage 1 of doc-3.txt in version 1"), k=18)


def test_a_copy_under_a_new_id_is_named_as_added(
    collection: Collection, tables: Tables, row: str
) -> None:
    new = str(uuid.uuid4())
    columns = "version, epoch, iv, emb, nonce, ct, tags, expires"
    tables.sql(f"INSERT INTO {{rows}} (id, {columns}) SELECT '{new}', {columns} FROM {{rows}}"
               f" WHERE id = '{row}'")  # fmt: skip
    assert found_in(collection) == [("added", new)]
    with pytest.raises(IntegrityViolated, match=new):
        collection.load()


def test_an_invented_row_is_named_as_added(
    collection: Collection, tables: Tables, row: str
) -> None:
    new = str(uuid.uuid4())
    tables.sql(f"INSERT INTO {{rows}} SELECT '{new}', version, epoch, iv, emb, nonce,"
               f" sha256(ct), tags, expires FROM {{rows}} WHERE id = '{row}'")  # fmt: skip
    assert found_in(collection) == [("added", new)]


def test_a_row_twice_under_one_id_is_named(
    collection: Collection, tables: Tables, row: str
) -> None:
    ((key,),) = tables.sql("SELECT conname FROM pg_constraint WHERE contype = 'p' AND"
                           " conrelid = '{rows}'::regclass")  # fmt: skip
    tables.sql(f"ALTER TABLE {{rows}} DROP CONSTRAINT {key}")
    tables.sql(f"INSERT INTO {{rows}} SELECT * FROM {{rows}} WHERE id = '{row}'")
    assert found_in(collection) == [("added", row)]
    with pytest.raises(IntegrityViolated):
        collection.search(vector_of("passage 1 of doc-3.txt in version 1"), k=18)


def test_many_changed_rows_are_all_named(collection: Collection, tables: Tables) -> None:
    tables.sql("UPDATE {rows} SET ct = set_byte(ct, 3, 255 - get_byte(ct, 3))")
    rows = [row for info in collection.documents() for row in info.rows]
    assert found_in(collection) == sorted(("tampered", row) for row in rows)


def test_a_row_of_another_collection_is_named(
    collection: Collection, tables: Tables, row: str, postgres: Postgres
) -> None:
    columns = "iv, emb, nonce, ct"
    other = Collection.create(
        collection._store, collection.name + "-b", collection.keys._master,
        dimension=DIMENSION, embedder="x",
    )  # fmt: skip
    other.put_documents([draft(other, "doc-3.txt")])
    foreign = Tables.of(postgres, other)
    tables.sql(
        f"UPDATE {{rows}} r SET ({columns}) = (SELECT {columns} FROM {foreign.rows} LIMIT 1)"
        f" WHERE id = '{row}'"
    )
    assert found_in(collection) == [("tampered", row)]


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE {rows}",
        "DROP TABLE {documents}",
        "ALTER TABLE {rows} DROP COLUMN ct",
        "ALTER TABLE {rows} ALTER COLUMN emb TYPE text",
        "ALTER TABLE {rows} RENAME COLUMN tags TO labels",
    ],
)
def test_a_table_that_is_gone_or_rebuilt_is_refused(
    collection: Collection, tables: Tables, statement: str
) -> None:
    tables.sql(statement)
    report = collection.verify()
    assert [each.kind for each in report.violations] == ["missing"]
    with pytest.raises(IntegrityViolated):
        collection.load()
    with pytest.raises(CragError):
        collection.put_documents([draft(collection, "doc-3.txt", version="2")])


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE {rows} ALTER COLUMN ct TYPE text USING encode(ct, 'hex')",
        "ALTER TABLE {rows} ALTER COLUMN epoch TYPE numeric",
        "ALTER TABLE {rows} ALTER COLUMN iv DROP NOT NULL; UPDATE {rows} SET iv = NULL",
        "ALTER TABLE {rows} ALTER COLUMN version TYPE bigint; UPDATE {rows} SET version = 1 << 40",
    ],
)
def test_columns_of_another_type_make_every_row_a_changed_one(
    collection: Collection, tables: Tables, statement: str
) -> None:
    tables.sql(statement)
    assert {kind for kind, _ in found_in(collection)} == {"tampered"}
    assert len(found_in(collection)) == 18
