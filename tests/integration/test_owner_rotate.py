"""``crag-owner rotate`` as a program: options, resumption, keys, anchors, Trustee."""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.owner import Owner, Server, execute, postgres_on_tcp, server_folder
from support.poll import until

QUESTION = "Where does the tea grow?"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_on_tcp() as running:
        yield running


@pytest.fixture
def owner(server: Server) -> Iterator[Owner]:
    with server_folder() as folder:
        made = Owner(folder / "home", folder)
        made.use(server.user)
        made.settings["CRAG_COLLECTION"] = f"c-{secrets.token_hex(4)}"
        (folder / "docs").mkdir()
        for name, text in (("tea", "Tea grows on hills."), ("coal", "Coal lies in seams.")):
            (folder / "docs" / f"{name}.txt").write_text(text)
        made.ok("ingest", "docs")
        yield made


def number_of(owner: Owner, server: Server) -> int:
    name = owner.settings["CRAG_COLLECTION"]
    found = execute(server.admin, f"SELECT id FROM crag.collections WHERE name = '{name}'")
    return int(found[0][0])


def hits(owner: Owner, *options: str) -> list[str]:
    return [hit["source"] for hit in owner.ok("search", QUESTION, *options)["hits"]]


def test_rotate_writes_every_row_anew_and_documents_stay_known(owner: Owner) -> None:
    before, wanted = owner.ok("stats"), hits(owner)
    done = owner.ok("rotate", "--approximation-factor", "0.5")
    assert (done["epoch"], done["rows"], done["written"], done["resumed"]) == (2, 2, 2, False)
    assert done["approximation_factor"] == 0.5
    assert done["check_value"] != before["check_value"]
    assert done["snapshot"]["sequence"] == before["sequence"] + 1
    assert hits(owner) == wanted
    again = owner.ok("ingest", "docs")
    assert again["documents"] | {"unchanged": 2} == again["documents"]
    assert again["documents"]["updated"] == 0
    assert owner.ok("verify")["ok"]
    assert owner.ok("rotate")["epoch"] == 3


def test_another_master_key(owner: Owner) -> None:
    owner.ok("key", "new", "--out", "next.key")
    assert owner.ok("rotate", "--new-master-key-file", "next.key")["epoch"] == 2
    refused = owner.run("search", QUESTION, "--json")
    assert (refused.code, refused.error["code"]) == (12, "wrong-key")
    key = ("--master-key-file", "next.key")
    assert hits(owner, *key)[0].endswith("tea.txt")
    assert owner.ok("ingest", "docs", *key)["documents"]["unchanged"] == 2
    # The same command again says that it is done.
    done = owner.run("rotate", "--new-master-key-file", "next.key", "--json")
    assert done.code == 30
    assert "done" in done.error["hint"]


def test_killed_and_run_again(owner: Owner, server: Server) -> None:
    """A real kill -9 of the real command, held before its switch by a lock."""
    import psycopg

    (owner.work / "more").mkdir()
    for number in range(20):
        (owner.work / "more" / f"{number}.txt").write_text(f"Text {number}. " * 30)
    owner.ok("ingest", "more")
    rows = owner.ok("rotate")["rows"]
    identity = number_of(owner, server)
    count = f"SELECT count(*) FROM crag.rows_{identity}_3"
    there = f"SELECT to_regclass('crag.rows_{identity}_3') IS NOT NULL"
    with (
        psycopg.connect(**server.admin.conninfo()) as blocker,
        owner.started("rotate", "--json") as process,
    ):
        blocker.execute("LOCK TABLE crag.collections IN SHARE MODE")
        until(lambda: execute(server.admin, there) == [(True,)], 60, "the new tables")
        until(lambda: execute(server.admin, count) == [(rows,)], 60, "all rows in them")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    stats = owner.ok("stats")
    assert (stats["epoch"], stats["rows"]) == (2, rows)
    assert len(hits(owner)) == 5
    # Nothing can be added until it is decided.
    refused = owner.run("ingest", "more", "--label", "a=b", "--json")
    assert (refused.code, refused.error["code"]) == (75, "rotating")
    done = owner.ok("rotate")
    assert (done["epoch"], done["rows"]) == (3, rows)
    assert (done["resumed"], done["written"]) == (True, 0)
    assert owner.ok("verify")["ok"]


def test_abort_without_a_rotation(owner: Owner) -> None:
    assert owner.ok("rotate", "--abort")["aborted"] is False


def test_a_database_rolled_back_to_the_old_epoch_is_refused(owner: Owner, server: Server) -> None:
    identity = number_of(owner, server)
    for kind in ("rows", "documents"):
        execute(server.admin, f"CREATE TABLE crag.kept_{kind} AS TABLE crag.{kind}_{identity}_1")
    for table in ("collections", "snapshots"):
        execute(server.admin, f"CREATE TABLE crag.kept_{table} AS TABLE crag.{table}")
    owner.ok("rotate")
    for kind in ("rows", "documents"):
        execute(server.admin, f"ALTER TABLE crag.kept_{kind} RENAME TO {kind}_{identity}_1")
        execute(server.admin, f"GRANT ALL ON crag.{kind}_{identity}_1 TO rag")
    execute(
        server.admin,
        "UPDATE crag.collections c SET profile = k.profile, nonce = k.nonce, sealed = k.sealed"
        f" FROM crag.kept_collections k WHERE k.id = c.id AND c.id = {identity}",
    )
    execute(
        server.admin,
        "UPDATE crag.snapshots c SET body = k.body, signature = k.signature, state = k.state"
        f" FROM crag.kept_snapshots k WHERE k.collection_id = c.collection_id"
        f" AND c.collection_id = {identity}",
    )
    for table in ("collections", "snapshots"):
        execute(server.admin, f"DROP TABLE crag.kept_{table}")
    for command in (("search", QUESTION), ("list",), ("ingest", "docs"), ("rotate",)):
        done = owner.run(*command, "--json")
        assert done.code == 12, (command, done)
        assert "rolled back" in done.error["message"]
    verified = owner.run("verify", "--json")
    assert verified.code == 12
    assert [each["kind"] for each in verified.json["violations"]] == ["rolled_back"]


def test_the_trustee_gets_the_new_key_and_the_new_anchor(owner: Owner, tmp_path: Path) -> None:
    serve = ("trustee", "serve", "--listen", "127.0.0.1:0", "--json")
    with owner.started(*serve) as trustee:
        assert trustee.stdout is not None
        ready: dict[str, Any] = json.loads(trustee.stdout.readline())
        there = ("--trustee", ready["url"])
        owner.ok("ingest", "docs", *there)
        owner.ok("key", "push", *there)
        owner.ok("key", "new", "--out", "next.key")
        done = owner.ok("rotate", "--new-master-key-file", "next.key", *there)
    resources = owner.home / "trustee" / "resources" / "default" / "crag"
    name = owner.settings["CRAG_COLLECTION"]
    anchor = json.loads((resources / f"{name}-snapshot").read_bytes())
    assert (anchor["epoch"], anchor["sequence"]) == (2, done["snapshot"]["sequence"])
    from crag_owner import keyfile

    new = keyfile.load(str(owner.work / "next.key"))
    assert (resources / f"{name}-key").read_bytes() == new.raw


def test_an_unknown_collection_is_bad_input(owner: Owner) -> None:
    done = owner.run("rotate", "--collection", "nowhere", "--json")
    assert (done.code, done.error["code"]) == (30, "no-collection")
