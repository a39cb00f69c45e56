"""Whatever the database's operator changes is named by ``verify`` and refused by ``serve``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from support.house import House

Change = Callable[[psycopg.Connection[tuple[object, ...]], str, str], set[str]]


def _rows_table(connection: psycopg.Connection[tuple[object, ...]]) -> tuple[str, str]:
    found = connection.execute(
        "select tablename from pg_tables where schemaname = 'crag' order by tablename"
    ).fetchall()
    names = [str(row[0]) for row in found]
    (rows,) = [name for name in names if name.startswith("rows_")]
    (documents,) = [name for name in names if name.startswith("documents_")]
    return rows, documents


def _two(connection: psycopg.Connection[tuple[object, ...]], rows: str) -> list[str]:
    query = sql.SQL("select id::text from crag.{} order by id limit 2").format(sql.Identifier(rows))
    return [str(row[0]) for row in connection.execute(query).fetchall()]


def _update(column: str, expression: str) -> Change:
    def change(
        connection: psycopg.Connection[tuple[object, ...]], rows: str, _documents: str
    ) -> set[str]:
        first, _second = _two(connection, rows)
        connection.execute(
            sql.SQL("update crag.{} set {} = {} where id = %s").format(
                sql.Identifier(rows), sql.Identifier(column), sql.SQL(expression)
            ),
            [first],
        )
        return {first}

    return change


def _swap(
    connection: psycopg.Connection[tuple[object, ...]], rows: str, _documents: str
) -> set[str]:
    first, second = _two(connection, rows)
    spare = "00000000-0000-4000-8000-000000000000"
    for old, new in ((first, spare), (second, first), (spare, second)):
        connection.execute(
            sql.SQL("update crag.{} set id = %s where id = %s").format(sql.Identifier(rows)),
            [new, old],
        )
    return {first, second}


def _delete(
    connection: psycopg.Connection[tuple[object, ...]], rows: str, _documents: str
) -> set[str]:
    first, _second = _two(connection, rows)
    connection.execute(
        sql.SQL("delete from crag.{} where id = %s").format(sql.Identifier(rows)), [first]
    )
    return {first}


CHANGES: dict[str, tuple[Change, str]] = {
    "text": (_update("ct", "set_byte(ct, 40, get_byte(ct, 40) # 1)"), "tampered"),
    "vector": (_update("emb", "l2_normalize(emb)"), "tampered"),
    "iv": (_update("iv", "set_byte(iv, 0, get_byte(iv, 0) # 1)"), "tampered"),
    "nonce": (_update("nonce", "set_byte(nonce, 0, get_byte(nonce, 0) # 1)"), "tampered"),
    "swapped": (_swap, "swapped"),
    "deleted": (_delete, "missing"),
}


@pytest.fixture
def database(house: House) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection as the operator has it; every table is put back afterwards."""
    with psycopg.connect(house.provider.settings["CRAG_DB_URL"], autocommit=True) as connection:
        rows, documents = _rows_table(connection)
        tables = [rows, documents, "snapshots"]
        _run(connection, "drop schema if exists spare cascade; create schema spare")
        for table in tables:
            _run(connection, "create table spare.{0} as table crag.{0}", table)
        yield connection
        for table in tables:
            _run(connection, "delete from crag.{0}", table)
            _run(connection, "insert into crag.{0} select * from spare.{0}", table)
        _run(connection, "drop schema spare cascade")


def _run(connection: psycopg.Connection[tuple[object, ...]], text: str, *names: str) -> None:
    connection.execute(sql.SQL(text).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CHANGES)
def test_change_is_named_by_verify_and_refused_by_serve(
    house: House, database: psycopg.Connection[tuple[object, ...]], name: str
) -> None:
    change, kind = CHANGES[name]
    rows, documents = _rows_table(database)
    ids = change(database, rows, documents)
    code, report, _ = house.owner.attempt("verify")
    assert code == 12
    assert report["ok"] is False
    assert {v["row"] for v in report["violations"] if v["kind"] == kind} >= ids
    code, error = house.refused(house.variant("provider"))
    assert code == 12
    assert kind in str(error)
    assert any(one in str(error) for one in ids)


def test_changed_id_is_named_by_the_row_that_it_was(
    house: House, database: psycopg.Connection[tuple[object, ...]]
) -> None:
    rows, _ = _rows_table(database)
    first, _second = _two(database, rows)
    new = "00000000-0000-4000-8000-000000000001"
    database.execute(
        sql.SQL("update crag.{} set id = %s where id = %s").format(sql.Identifier(rows)),
        [new, first],
    )
    code, report, _ = house.owner.attempt("verify")
    assert code == 12
    named = {v["row"]: v for v in report["violations"]}
    assert named[first]["kind"] in ("tampered", "missing")
    assert new in str(report["violations"])
    code, error = house.refused(house.variant("provider"))
    assert code == 12
    assert first in str(error)


def test_older_snapshot_restored_is_rolled_back(
    house: House, database: psycopg.Connection[tuple[object, ...]], tmp_path: object
) -> None:
    from pathlib import Path

    extra = Path(str(tmp_path)) / "later.txt"
    extra.write_text("The cellar of the Alta branch was painted in the autumn of 2025.\n")
    report = house.owner.run("ingest", str(extra))
    assert report["documents"]["added"] == 1
    at = house.trustees["owner"]
    house.owner.run("key", "push", "--trustee", at["url"], "--admin-key-file", at["admin_key"],
                    "--resource", "kbs:///default/crag/documents-key")  # fmt: skip
    # the operator restores the whole database as it was: consistent in itself, but old
    rows, documents = _rows_table(database)
    later = {}
    for table in (rows, documents, "snapshots"):
        _run(database, "create table spare.{1} as table crag.{0}", table, f"later_{table}")
        later[table] = f"later_{table}"
        _run(database, "delete from crag.{0}", table)
        _run(database, "insert into crag.{0} select * from spare.{0}", table)
    code, report, _ = house.owner.attempt("verify")
    assert code == 12
    assert "rolled_back" in {v["kind"] for v in report["violations"]}
    code, error = house.refused(house.variant("provider"))
    assert code == 12
    assert "rolled" in str(error)
    # what the owner last signed stays the state for the tests that follow
    for table, copy in later.items():
        _run(database, "delete from spare.{0}", table)
        _run(database, "insert into spare.{0} select * from spare.{1}", table, copy)
