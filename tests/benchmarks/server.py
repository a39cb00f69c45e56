"""A PostgreSQL of its own for one benchmark, and the CPU time of its backends."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from crag_core.store.embedded import EmbeddedServer
from crag_core.store.settings import DatabaseSettings

# So that neither the encrypted nor the plaintext index is the only one that fits.
SHARED_BUFFERS = "1GB"


@contextmanager
def postgres() -> Iterator[DatabaseSettings]:
    """The embedded server in a temporary folder, stopped and removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="crag-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            with psycopg.connect(**server.settings().conninfo(), autocommit=True) as connection:
                connection.execute(f"ALTER SYSTEM SET shared_buffers = '{SHARED_BUFFERS}'")
                connection.execute("ALTER SYSTEM SET max_wal_size = '4GB'")
            server.stop()
            server.start()
            yield server.settings()
        finally:
            server.stop()


def sqlalchemy_url(settings: DatabaseSettings) -> str:
    """The same server for SQLAlchemy with psycopg 3."""
    return f"postgresql+psycopg://{settings.user}@/{settings.database}?host={settings.host}"


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU of client and database together, and seconds of wall clock."""

    cpu: float
    wall: float


class Meter:
    """Measures work by what client and backends used.

    Args:
        observer: a connection that is used for nothing else.
    """

    def __init__(self, observer: psycopg.Connection[Any]) -> None:
        self._observer = observer

    def local(self, work: Callable[[], object]) -> Cost:
        """What ``work`` costs in this process and in the database."""
        before, wall, cpu = self._backends(), time.perf_counter(), time.process_time()
        work()
        used, elapsed = time.process_time() - cpu, time.perf_counter() - wall
        return Cost(used + self._backends() - before, elapsed)

    def peer(self, work: Callable[[], dict[str, Any]]) -> Cost:
        """What a peer's measured work costs in its own process and in the database."""
        before = self._backends()
        answer = work()
        return Cost(answer["cpu"] + self._backends() - before, answer["wall"])

    def _backends(self) -> float:
        """CPU seconds of all living client backends but the observer's."""
        found = self._observer.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
        return sum(_cpu_seconds(pid) for (pid,) in found)


def _cpu_seconds(pid: int) -> float:
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
