"""A database that is down, slow, silent, closed to us or not ours: a sentence in bounded time."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psycopg
import pytest

from crag_core.collection import Collection
from crag_core.errors import BadInput, CragError, NotSupported, Unreachable
from crag_core.keys import MasterKey
from crag_core.store import connection as connections
from crag_core.store.connection import BoundedConnection
from crag_core.store.opening import open_store
from crag_core.store.postgres import PostgresStore
from crag_core.store.settings import CONNECT_SECONDS, DatabaseSettings
from support.database import PASSWORD, Postgres, Tables, draft, free_port, vector_of


@contextmanager
def within(seconds: float) -> Iterator[None]:
    begun = time.monotonic()
    yield
    assert time.monotonic() - begun < seconds


def test_a_closed_port_is_unreachable_at_once() -> None:
    settings = DatabaseSettings("127.0.0.1", free_port(), "crag", "rag", PASSWORD)
    with within(CONNECT_SECONDS), pytest.raises(Unreachable) as refused, open_store(settings):
        pass
    assert refused.value.exit_code == 75
    assert "127.0.0.1" in refused.value.message
    assert PASSWORD not in refused.value.diagnostics()


def test_a_server_that_accepts_and_says_nothing_is_given_up_after_five_seconds() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        settings = DatabaseSettings("127.0.0.1", listener.getsockname()[1], "crag", "rag", PASSWORD)
        with within(CONNECT_SECONDS + 4), pytest.raises(Unreachable, match="5 s"):
            PostgresStore(settings)


def test_something_that_is_no_postgresql_is_refused() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        import threading

        def answer() -> None:
            peer, _ = listener.accept()
            peer.recv(100)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            peer.close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        settings = DatabaseSettings("127.0.0.1", listener.getsockname()[1], "crag", "rag", PASSWORD)
        with within(CONNECT_SECONDS + 4), pytest.raises(Unreachable):
            PostgresStore(settings)
        thread.join(10)


def test_a_host_without_address_is_unreachable() -> None:
    settings = DatabaseSettings("no-such-host.invalid", 5432, "crag", "rag", PASSWORD)
    with pytest.raises(Unreachable, match="no-such-host"):
        PostgresStore(settings)


def test_a_wrong_password_names_user_and_host_but_not_the_password(postgres: Postgres) -> None:
    wrongs = (
        replace(postgres.user, password="Wrong_9999"),
        replace(postgres.user, password=None),
        replace(postgres.user, user="nobody-here"),
    )
    for wrong in wrongs:
        with pytest.raises(CragError) as refused:
            PostgresStore(wrong)
        assert refused.value.code == "authentication-failed"
        assert refused.value.exit_code == 1
        text = refused.value.diagnostics() + repr(refused.value.__cause__) + repr(wrong)
        assert "127.0.0.1" in text
        assert str(wrong.user) in text
        assert "Wrong_9999" not in text
        assert PASSWORD not in text


def test_an_unknown_database_is_named(postgres: Postgres) -> None:
    with pytest.raises(CragError) as refused:
        PostgresStore(replace(postgres.user, database="nowhere"))
    assert refused.value.code == "no-database"
    assert "nowhere" in refused.value.message


def test_a_server_that_freezes_in_a_statement_is_given_up_in_bounded_time(
    postgres: Postgres,
) -> None:
    with PostgresStore(postgres.user.within(1)) as store, pytest.raises(Unreachable, match="6 s"):
        _freeze(store)


def _freeze(store: PostgresStore) -> None:
    with store._connections.connection() as connection:
        pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with within(1 + 5 + 3):
                connection.execute("SELECT 1")
        finally:
            os.kill(pid, signal.SIGCONT)


def test_an_idle_connection_that_froze_is_replaced_in_bounded_time(
    postgres: Postgres,
    collection: Collection,
    owner_key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if it had been idle for longer than that.
    monkeypatch.setattr(connections, "BYPASS_SECONDS", 0)
    with PostgresStore(postgres.user) as store:
        view = Collection.open(store, collection.name, owner_key)
        with store._connections.connection() as connection:
            pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with within(5 + 3):
                assert len(view.search(vector_of("x"), k=1)) == 1
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_connection_that_freezes_right_after_an_answer_is_a_silent_server(
    postgres: Postgres,
) -> None:
    with PostgresStore(postgres.user.within(1)) as store:
        with store._connections.connection() as connection:
            pid = connection.info.backend_pid
        os.kill(pid, signal.SIGSTOP)
        try:
            with within(1 + 5 + 3), pytest.raises(Unreachable, match="6 s"), store.lookup() as look:
                look.snapshot(1)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert store.collections() is not None


def test_a_stopped_postmaster_is_given_up_after_five_seconds(postgres: Postgres) -> None:
    pid = postgres.server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        with within(CONNECT_SECONDS + 4), pytest.raises(Unreachable):
            PostgresStore(postgres.user)
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_slow_statement_is_ended_by_its_limit(
    postgres: Postgres, collection: Collection, owner_key: MasterKey
) -> None:
    tables = Tables.of(postgres, collection)
    with (
        PostgresStore(postgres.user.within(1)) as store,
        psycopg.connect(**postgres.admin.conninfo()) as holder,
    ):
        view = Collection.open(store, collection.name, owner_key)
        holder.execute(f"LOCK TABLE {tables.rows} IN ACCESS EXCLUSIVE MODE")  # type: ignore[arg-type]
        for attempt in (
            lambda: view.search(vector_of("x")),
            view.verify,
            view.load,
            lambda: view.put_documents([draft(view, "late.txt")]),
        ):
            with within(5), pytest.raises(Unreachable) as slow:
                attempt()
            assert slow.value.exit_code == 75
        holder.rollback()
        assert view.verify().ok


def test_an_idle_connection_that_the_server_closed_is_replaced(
    postgres: Postgres, collection: Collection
) -> None:
    postgres.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name = 'crag' AND pid <> pg_backend_pid()"
    )
    assert collection.verify().ok


def test_a_connection_that_answered_just_now_is_not_asked_again_unless_the_server_closed_it(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    probed: list[str] = []
    honest = connections._alive

    def alive(connection: BoundedConnection, probe: str) -> bool:
        probed.append(probe)
        return honest(connection, probe)

    monkeypatch.setattr(connections, "_alive", alive)
    with PostgresStore(postgres.user) as store:
        pids = []
        for _ in range(3):
            with store._connections.connection() as connection:
                pids.append(connection.info.backend_pid)
        assert probed == []
        postgres.sql(f"SELECT pg_terminate_backend({pids[-1]}, 5000)")
        with store._connections.connection() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
            assert connection.info.backend_pid != pids[-1]
        assert (probed, len(set(pids))) == (["SELECT 1"], 1)
        # One that was broken here is replaced too.
        connection.pgconn.finish()
        with store._connections.connection() as other:
            assert other.execute("SELECT 1").fetchone() == (1,)
        probed.pop()
        monkeypatch.setattr(connections, "BYPASS_SECONDS", 0)
        with store._connections.connection():
            assert len(probed) == 2


def test_a_reader_without_rights_is_told_what_it_needs(
    postgres: Postgres, collection: Collection, owner_key: MasterKey
) -> None:
    postgres.sql("DROP ROLE IF EXISTS guest")
    postgres.sql("CREATE ROLE guest LOGIN PASSWORD 'guest-password'")
    guest = replace(postgres.user, user="guest", password="guest-password")
    with pytest.raises(CragError) as refused:
        PostgresStore(guest, create=False)
    assert refused.value.code == "database-permission"
    postgres.sql("GRANT USAGE ON SCHEMA crag TO guest")
    postgres.sql("GRANT SELECT ON ALL TABLES IN SCHEMA crag TO guest")
    with PostgresStore(guest, create=False) as store:
        view = Collection.open(store, collection.name, owner_key)
        assert view.load().rows == 18
        with pytest.raises(CragError) as refused:
            view.put_documents([draft(view, "x.txt")])
        assert refused.value.code == "database-permission"
    postgres.sql("DROP OWNED BY guest")
    postgres.sql("DROP ROLE guest")


def test_a_database_without_schema_is_only_filled_when_asked(postgres: Postgres) -> None:
    postgres.sql("DROP DATABASE IF EXISTS blank")
    postgres.sql("CREATE DATABASE blank OWNER rag")
    blank = replace(postgres.user, database="blank")
    with pytest.raises(BadInput, match="holds no collection"):
        PostgresStore(blank, create=False)
    # Only an administrator may add pgvector, and the message says so.
    with pytest.raises(CragError, match="pgvector") as refused:
        PostgresStore(blank)
    assert "CREATE EXTENSION" in refused.value.hint
    with psycopg.connect(
        **replace(postgres.admin, database="blank").conninfo(), autocommit=True
    ) as admin:
        admin.execute("CREATE EXTENSION vector")
    with PostgresStore(blank) as store:
        assert store.collections() == []
    with PostgresStore(blank, create=False) as store:
        assert store.collections() == []
    with psycopg.connect(**blank.conninfo(), autocommit=True) as operator:
        operator.execute("UPDATE crag.version SET version = 99")
    with pytest.raises(NotSupported, match="99"):
        PostgresStore(blank)
    postgres.sql("DROP DATABASE blank")


def test_many_programs_make_the_schema_at_once(postgres: Postgres) -> None:
    from concurrent.futures import ThreadPoolExecutor

    postgres.sql("DROP DATABASE IF EXISTS raced")
    postgres.sql("CREATE DATABASE raced OWNER rag")
    with psycopg.connect(
        **replace(postgres.admin, database="raced").conninfo(), autocommit=True
    ) as admin:
        admin.execute("CREATE EXTENSION vector")

    def make(_: int) -> list[str]:
        with PostgresStore(replace(postgres.user, database="raced")) as store:
            return store.collections()

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(make, range(6))) == [[]] * 6
    postgres.sql("DROP DATABASE raced")


def test_a_url_works_like_the_options(postgres: Postgres) -> None:
    user = postgres.user
    url = f"postgresql://{user.user}:{user.password}@{user.host}:{user.port}/{user.database}"
    with open_store(DatabaseSettings(url=url)) as store:
        assert isinstance(store.collections(), list)
    bare = f"postgresql://{user.user}@{user.host}:{user.port}/{user.database}"
    with open_store(DatabaseSettings(url=bare, password=user.password)) as store:
        assert isinstance(store.collections(), list)
