"""Connections to PostgreSQL that never wait without end."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.pq import Format

from crag_core.store.failures import Silent, refused_connection, translated
from crag_core.store.settings import CONNECT_SECONDS, DatabaseSettings

T = TypeVar("T")

LOCK_SECONDS = 30
GRACE_SECONDS = 5
IDLE_KEPT = 4
# As HikariCP's aliveBypassWindowMs: what answered just now is not asked whether it still does.
BYPASS_SECONDS = 0.5
# Only what asks for it is prepared.
NEVER_BY_ITSELF = 1 << 60


class Halfvec(bytes):
    """A vector as pgvector's ``halfvec_recv`` reads it, which parses no text."""


class _HalfvecDumper(Dumper):
    # The statement's cast says the type; only its number in this database is not known.
    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return bytes(obj)


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up when the server is silent longer than ``silence`` seconds.

    ``statement_timeout`` covers a slow statement, but it is the server that enforces it; a server
    that is stopped or cut off would keep its client waiting for ever.
    """

    silence: float = 0.0

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """As the driver's, with a deadline that each answer of the server renews."""
        bounded = _bounded(gen, self.silence) if self.silence else gen
        return super().wait(bounded, *args, **kwargs)


def _bounded(gen: Generator[Any, Any, T], seconds: float) -> Generator[Any, Any, T]:
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                deadline = now + seconds
            elif now > deadline:
                gen.close()
                raise Silent(seconds)
            wanted = gen.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


def connect(settings: DatabaseSettings) -> BoundedConnection:
    """A connection in autocommit mode, its limits set on the server and here.

    Raises:
        Unreachable: no answer within 5 s per address of the host.
        CragError: code ``authentication-failed`` or ``no-database``.
        BadInput: the URL cannot be read.
    """
    where = settings.where()
    limit = settings.statement_seconds
    parameters = {
        "connect_timeout": CONNECT_SECONDS,
        "tcp_user_timeout": (limit + GRACE_SECONDS) * 1000,
        "keepalives_idle": 30,
        "application_name": "crag",
        "client_encoding": "utf8",
        # Kerberos would be tried first, and can block on a name service.
        "gssencmode": "disable",
        **settings.conninfo(),
    }
    try:
        connection = BoundedConnection.connect(autocommit=True, **parameters)
    except psycopg.Error as error:
        raise refused_connection(error, where, CONNECT_SECONDS) from None
    connection.silence = limit + GRACE_SECONDS
    connection.prepare_threshold = NEVER_BY_ITSELF
    connection.adapters.register_dumper(Halfvec, _HalfvecDumper)
    try:
        with translated(where):
            _limit(connection, limit)
    except BaseException:
        connection.close()
        raise
    return connection


def _limit(connection: BoundedConnection, seconds: int) -> None:
    connection.execute(
        "SELECT set_config('statement_timeout', %s, false),"
        " set_config('lock_timeout', %s, false),"
        " set_config('idle_in_transaction_session_timeout', %s, false)",
        [f"{seconds}s", f"{min(LOCK_SECONDS, seconds)}s", f"{2 * seconds + LOCK_SECONDS}s"],
    )


class Connections:
    """A few connections, reused; safe to use from several threads."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self.settings = settings
        self.where = settings.where()
        self._idle: list[tuple[BoundedConnection, float]] = []
        self._guard = threading.Lock()
        self._closed = False

    @contextmanager
    def connection(self, begin: str = "") -> Iterator[BoundedConnection]:
        """A connection for one block; errors of the driver become errors of crag.

        Args:
            begin: a statement without effect of its own, such as ``BEGIN``, that was run when the
                block begins; it spares a question whether an idle connection still works. So does
                an answer of the last half second, unless the server has said something since.

        A connection that failed is closed at once, without a word to a server that may be silent:
        the server rolls back what was not committed.
        """
        connection, new = self._take(begin)
        try:
            with translated(self.where):
                if new and begin:
                    connection.execute(begin)
                yield connection
        except BaseException:
            connection.close()
            raise
        self._give(connection)

    def close(self) -> None:
        """Close all that are idle; those in use close when they are given back."""
        with self._guard:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _take(self, begin: str) -> tuple[BoundedConnection, bool]:
        """A connection, and whether it is new; on an idle one ``begin`` was run."""
        while True:
            with self._guard:
                found, since = self._idle.pop() if self._idle else (None, 0.0)
            if found is None:
                return connect(self.settings), True
            fresh = not begin and time.monotonic() - since < BYPASS_SECONDS
            if (fresh and not _stirred(found)) or _alive(found, begin or "SELECT 1"):
                return found, False
            found.close()

    def _give(self, connection: BoundedConnection) -> None:
        with self._guard:
            keep = not self._closed and not connection.closed and len(self._idle) < IDLE_KEPT
            if keep:
                self._idle.append((connection, time.monotonic()))
        if not keep:
            connection.close()


def _stirred(connection: BoundedConnection) -> bool:
    """Whether an idle connection has something to read, as one has that the server closed."""
    waiting = select.poll()
    try:
        waiting.register(connection.fileno(), select.POLLIN)
    except psycopg.Error:
        return True
    return bool(waiting.poll(0))


def _alive(connection: BoundedConnection, probe: str) -> bool:
    """Whether an idle connection still works, so that a server's restart is not noticed."""
    usual = connection.silence
    connection.silence = CONNECT_SECONDS
    try:
        connection.execute(probe)
    except (psycopg.Error, Silent):
        return False
    finally:
        connection.silence = usual
    return True
