"""Several writers, writers that die, and a server that goes away in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crag_core.collection import Collection
from crag_core.collection.batch import Batch
from crag_core.errors import CragError, Unreachable
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore, PostgresWriter
from support.database import (
    Postgres,
    Tables,
    draft,
    new_collection,
    start_postgres,
    temporary_folder,
)
from support.poll import until

CHILD = """
import os, sys
sys.path.insert(0, sys.argv[1])
from crag_core.collection import Collection
from crag_core.collection.batch import Batch
from crag_core.keys import MasterKey
from crag_core.store.postgres import PostgresStore, PostgresWriter
from crag_core.store.settings import DatabaseSettings
from support.database import draft

host, port, name, stage = sys.argv[2:6]
key = MasterKey.from_bytes(bytes.fromhex(sys.stdin.readline().strip()))
settings = DatabaseSettings(host, int(port), "crag", "rag", sys.stdin.readline().strip())
if stage != "none":
    original = getattr(PostgresWriter, stage)
    def stop(self, *arguments):
        result = original(self, *arguments)
        print("here", flush=True)
        sys.stdin.read()
        return result
    setattr(PostgresWriter, stage, stop)
with PostgresStore(settings) as store:
    collection = Collection.open(store, name, key)
    for number in range(int(sys.argv[6])):
        sources = [f"{sys.argv[7]}-{number}-{i}.txt" for i in range(3)]
        collection.put_documents([draft(collection, source) for source in sources])
print("done", flush=True)
"""


@contextmanager
def writer_process(
    postgres: Postgres,
    collection: Collection,
    key: MasterKey,
    *,
    stage: str = "none",
    transactions: int = 1,
    prefix: str = "child",
) -> Iterator[subprocess.Popen[str]]:
    """Another program that writes; with ``stage`` it stops after that step, transaction open."""
    user = postgres.user
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(Path(__file__).parents[1]), str(user.host),
         str(user.port), collection.name, stage, str(transactions), prefix],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={"PATH": os.environ["PATH"], "CRAG_HOME": os.environ["CRAG_HOME"]},
    )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(f"{key.raw.hex()}\n{user.password}\n")
        process.stdin.flush()
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=30)


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    "stage", ["lock", "delete_rows", "insert_rows", "insert_documents", "put_snapshot"]
)
def test_a_writer_killed_in_a_transaction_leaves_the_last_state(
    postgres: Postgres, collection: Collection, owner_key: MasterKey, stage: str
) -> None:
    before = collection.snapshot()
    with writer_process(postgres, collection, owner_key, stage=stage) as process:
        assert line_of(process) == "here"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert collection.snapshot() == before
    report = collection.verify()
    assert (report.ok, report.rows, report.documents) == (True, 18, 6)
    # The dead writer's lock is gone with its connection.
    assert collection.put_documents([draft(collection, "after.txt")])[0].status == "added"
    assert collection.verify().ok


def test_a_writer_killed_between_transactions_leaves_what_was_committed(
    postgres: Postgres, collection: Collection, owner_key: MasterKey
) -> None:
    with writer_process(postgres, collection, owner_key, transactions=10_000) as process:
        until(lambda: collection.snapshot().sequence >= 4, 60, "four transactions")
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    after = collection.snapshot()
    report = collection.verify()
    assert report.ok
    assert report.documents == 6 + 3 * (after.sequence - 1)


def test_two_programs_and_two_threads_write_at_once(
    postgres: Postgres, collection: Collection, owner_key: MasterKey
) -> None:
    with (
        writer_process(postgres, collection, owner_key, transactions=6, prefix="a") as one,
        writer_process(postgres, collection, owner_key, transactions=6, prefix="b") as two,
        PostgresStore(postgres.user) as other,
    ):
        mine = [collection, Collection.open(other, collection.name, owner_key)]

        def write(view: Collection, name: str) -> None:
            for number in range(6):
                view.put_documents([draft(view, f"{name}-{number}.txt")])

        threads = [threading.Thread(target=write, args=(mine[at], f"t{at}")) for at in (0, 1)]
        for thread in threads:
            thread.start()
        assert [line_of(one), line_of(two)] == ["done", "done"]
        for thread in threads:
            thread.join(60)
    report = collection.verify()
    assert (report.ok, report.documents) == (True, 6 + 2 * 18 + 2 * 6)
    assert report.snapshot is not None
    assert report.snapshot.sequence == 1 + 24


def test_two_programs_ingest_the_same_documents(
    postgres: Postgres, collection: Collection, owner_key: MasterKey
) -> None:
    with (
        writer_process(postgres, collection, owner_key, transactions=4, prefix="same") as one,
        writer_process(postgres, collection, owner_key, transactions=4, prefix="same") as two,
    ):
        assert [line_of(one), line_of(two)] == ["done", "done"]
    report = collection.verify()
    assert (report.ok, report.documents) == (True, 6 + 12)
    assert collection.snapshot().sequence == 1 + 4


def test_a_lost_connection_leaves_the_last_state_and_can_be_tried_again(
    postgres: Postgres, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = collection.snapshot()
    original = PostgresWriter.insert_rows

    def lose(self: PostgresWriter, *arguments: Any) -> None:
        original(self, *arguments)
        pid = self._connection.info.backend_pid
        postgres.sql("SELECT pg_terminate_backend(%s, 5000)", pid)

    with monkeypatch.context() as patched:
        patched.setattr(PostgresWriter, "insert_rows", lose)
        with pytest.raises(Unreachable) as lost:
            collection.put_documents([draft(collection, "lost.txt")])
    assert lost.value.exit_code == 75
    assert collection.snapshot() == before
    assert collection.verify().ok
    assert collection.put_documents([draft(collection, "lost.txt")])[0].status == "added"


@pytest.fixture
def own_server() -> Iterator[Postgres]:
    with temporary_folder() as folder:
        running = start_postgres(folder / "postgres")
        try:
            yield running
        finally:
            running.server.stop()


def test_an_error_while_rows_are_sealed_leaves_the_last_state_and_no_word_in_the_servers_log(
    own_server: Postgres, owner_key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PostgresStore(own_server.user) as store:
        collection = new_collection(store, owner_key)
        collection.put_documents([draft(collection, "first.txt")])
        before = collection.snapshot()
        own_server.sql("ALTER SYSTEM SET log_min_messages = 'error'")
        own_server.sql("ALTER SYSTEM SET log_min_error_statement = 'error'")
        own_server.sql("SELECT pg_reload_conf()")
        count = 0

        def fail(self: Batch, chosen: list[int]) -> Any:
            nonlocal count
            count += 1
            if count == 3:
                raise MemoryError("a text of the owner")
            return original(self, chosen)

        original = Batch._seal
        with monkeypatch.context() as patched:
            patched.setattr("crag_core.collection.batch._ROWS", 1)
            patched.setattr(Batch, "_seal", fail)
            with pytest.raises(MemoryError, match="a text of the owner"):
                collection.put_documents([draft(collection, "second.txt")])
        assert count == 3
        assert collection.snapshot() == before
        assert collection.verify().ok
        assert collection.put_documents([draft(collection, "second.txt")])[0].status == "added"
    log = (own_server.server.data / "server.log").read_text("utf-8", "replace")
    assert "COPY" in log
    assert "owner" not in log


def test_a_server_killed_in_a_transaction_recovers_to_the_last_state(
    own_server: Postgres, owner_key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = PostgresWriter.insert_documents
    pid = own_server.server.status().pid
    assert pid is not None

    def kill(self: PostgresWriter, *arguments: Any) -> None:
        original(self, *arguments)
        os.kill(pid, signal.SIGKILL)
        os.kill(self._connection.info.backend_pid, signal.SIGKILL)

    with PostgresStore(own_server.user) as store:
        collection = new_collection(store, owner_key)
        collection.put_documents([draft(collection, "first.txt")])
        before = collection.snapshot()
        with monkeypatch.context() as patched:
            patched.setattr(PostgresWriter, "insert_documents", kill)
            with pytest.raises(Unreachable):
                collection.put_documents([draft(collection, "second.txt")])
        with pytest.raises(Unreachable):
            collection.snapshot()
        # Nobody removed postmaster.pid: the next start must see that its server is gone.
        assert (own_server.data / "postmaster.pid").exists()
        own_server.server.start()
        assert own_server.server.status().pid not in (None, pid)
        assert collection.snapshot() == before
        assert collection.put_documents([draft(collection, "second.txt")])[0].status == "added"
        assert collection.verify().ok


def test_a_full_disk_leaves_the_last_state(owner_key: MasterKey, tmp_path: Path) -> None:
    from support.database import new_collection

    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m,mode=711", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system cannot be mounted here (needs root and mount)")
    try:
        running = start_postgres(disk / "postgres")
        try:
            with PostgresStore(running.user) as store:
                collection = new_collection(store, owner_key)
                collection.put_documents([draft(collection, "first.txt")])
                before = collection.snapshot()
                ballast = disk / "ballast"
                _fill(ballast)
                refused = None
                for number in range(200):
                    try:
                        sources = [f"{number}-{i}.txt" for i in range(40)]
                        drafts = [draft(collection, each, chunks=10) for each in sources]
                        collection.put_documents(drafts)
                        before = collection.snapshot()
                    except CragError as error:
                        refused = error
                        break
                assert refused is not None
                assert refused.exit_code in (1, 75)
                ballast.unlink()
                running.server.start()
                assert collection.snapshot() == before
                assert collection.verify().ok
                collection.put_documents([draft(collection, "after.txt")])
                assert collection.verify().ok
        finally:
            running.server.stop()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _fill(ballast: Path) -> None:
    """Leave about 1 MB on the disk."""
    chunk = bytes(1 << 20)
    with ballast.open("wb", buffering=0) as stream:
        try:
            while stream.write(chunk) == len(chunk):
                pass
        except OSError:
            pass
        stream.truncate(max(0, stream.tell() - (1 << 20)))


def test_a_writer_that_waits_for_another_gives_up_in_bounded_time(
    postgres: Postgres, collection: Collection, owner_key: MasterKey
) -> None:
    tables = Tables.of(postgres, collection)
    import psycopg

    with (
        PostgresStore(postgres.user.within(2)) as impatient,
        psycopg.connect(**postgres.admin.conninfo()) as holder,
    ):
        holder.execute(
            "SELECT 1 FROM crag.snapshots WHERE collection_id = %s FOR UPDATE", [tables.number]
        )
        view = Collection.open(impatient, collection.name, owner_key)
        with pytest.raises(Unreachable, match=r"Another writer|longer") as waited:
            view.put_documents([draft(view, "late.txt")])
        assert waited.value.exit_code == 75
        # Readers are not held up.
        assert len(view.search(draft(view, "x").chunks[0].vector, k=1)) == 1
        holder.rollback()
        assert view.put_documents([draft(view, "late.txt")])[0].status == "added"
