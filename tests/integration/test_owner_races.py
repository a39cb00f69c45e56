"""Two ingests that make the same collection at once: the later one goes on with what is there."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from crag_core.store.postgres import PostgresStore
from crag_core.store.settings import DatabaseSettings
from support.owner import Owner, execute, postgres_on_tcp
from support.poll import until

_WAITING = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE wait_event_type = 'Lock' AND query LIKE 'INSERT INTO crag.collections%'"
)


@pytest.fixture(scope="module")
def database() -> Iterator[tuple[DatabaseSettings, DatabaseSettings]]:
    with postgres_on_tcp() as running:
        PostgresStore(running.user).close()
        yield running.user, running.admin


@contextmanager
def held_back(admin: DatabaseSettings) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Nobody can record a collection in this block, but everybody can see that there is none."""
    with psycopg.connect(**admin.conninfo()) as connection:
        connection.execute("LOCK TABLE crag.collections IN SHARE MODE")
        yield connection


def owners(
    tmp_path: Path, database: DatabaseSettings, *, keys: Sequence[bytes | None]
) -> list[Owner]:
    """Two owners, each with a folder of one document; with no key they share their state."""
    collection, made = f"c{uuid.uuid4().hex}", []
    for number, key in enumerate(keys):
        work = tmp_path / f"work{number}"
        (work / "docs").mkdir(parents=True)
        (work / "docs" / f"own{number}.txt").write_text(f"Document number {number}.\n")
        (work / "docs" / "both.txt").write_text("What both of them have.\n")
        one = Owner(tmp_path / ("home" if key is None else f"home{number}"), work)
        one.use(database)
        one.settings["CRAG_COLLECTION"] = collection
        if key is not None:
            (work / "key").write_bytes(key)
            (work / "key").chmod(0o600)
            one.settings["CRAG_MASTER_KEY_FILE"] = str(work / "key")
        made.append(one)
    return made


def raced(
    admin: DatabaseSettings, pair: Sequence[Owner], options: Sequence[Sequence[str]] = ((), ())
) -> list[tuple[int, str]]:
    """Exit code and stderr of an ingest by each, of which neither saw the other's collection."""
    with ExitStack() as stack:
        with held_back(admin):
            running: list[subprocess.Popen[bytes]] = [
                stack.enter_context(one.started("ingest", "-D", "docs", *extra))
                for one, extra in zip(pair, options, strict=True)
            ]
            until(lambda: execute(admin, _WAITING) == [(2,)], seconds=90)
        ended = []
        for process in running:
            _, told = process.communicate(timeout=120)
            ended.append((process.returncode, told.decode()))
    return ended


def test_both_are_in_the_one_collection(
    tmp_path: Path, database: tuple[DatabaseSettings, DatabaseSettings]
) -> None:
    user, admin = database
    pair = owners(tmp_path, user, keys=[b"k" * 32, b"k" * 32])
    ended = raced(admin, pair)
    assert [code for code, _ in ended] == [0, 0], ended
    for one in pair:
        found = one.ok("list")
        assert sorted(each["source"] for each in found["documents"]) == [
            "docs/both.txt", "docs/own0.txt", "docs/own1.txt",
        ]  # fmt: skip
        assert one.ok("verify")["ok"]


def test_first_runs_in_one_state_folder_make_one_key(
    tmp_path: Path, database: tuple[DatabaseSettings, DatabaseSettings]
) -> None:
    user, admin = database
    pair = owners(tmp_path, user, keys=[None, None])
    ended = raced(admin, pair)
    assert [code for code, _ in ended] == [0, 0], ended
    assert len(pair[0].ok("list")["documents"]) == 3
    assert pair[0].ok("verify")["ok"]


def test_another_key_is_refused_as_ever(
    tmp_path: Path, database: tuple[DatabaseSettings, DatabaseSettings]
) -> None:
    user, admin = database
    ended = raced(admin, owners(tmp_path, user, keys=[b"k" * 32, b"o" * 32]))
    assert sorted(code for code, _ in ended) == [0, 12], ended


@pytest.mark.parametrize("asked", [True, False])
def test_other_chunks_are_refused_or_asked_to_try_again(
    tmp_path: Path, database: tuple[DatabaseSettings, DatabaseSettings], asked: bool
) -> None:
    user, admin = database
    pair = owners(tmp_path, user, keys=[b"k" * 32, b"k" * 32])
    other = ("--chunk-size", "96") if asked else ()
    ended = raced(admin, pair, [("--chunk-size", "64"), other])
    (loser,) = [number for number, (code, _) in enumerate(ended) if code != 0]
    code, told = ended[loser]
    if asked or loser == 0:
        assert code == 2, ended
        assert "has chunk size" in told
    else:
        assert code == 75, ended
        assert "Run the same command again" in told
        again = pair[loser].run("ingest", "-D", "docs")
        assert again.code == 0, again.err
        assert len(pair[loser].ok("list")["documents"]) == 3
