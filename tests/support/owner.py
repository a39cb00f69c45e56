"""Run the real ``crag-owner`` against a real PostgreSQL."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crag_core.store.embedded import EmbeddedServer
from crag_core.store.embedded_config import create_user
from crag_core.store.settings import DatabaseSettings

BINARY = str(Path(sys.executable).with_name("crag-owner"))
USER, PASSWORD = "rag", "Rag_1234"
SECONDS = 120


def free_port() -> int:
    """A TCP port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Server:
    """A PostgreSQL: how its user connects, how its administrator does, where its files are."""

    user: DatabaseSettings
    admin: DatabaseSettings
    data: Path


@contextmanager
def server_folder() -> Iterator[Path]:
    """A folder for a PostgreSQL, outside of pytest's own.

    Another run of pytest closes the folder above all of pytest's to other users, and with it to
    the user that PostgreSQL runs as.
    """
    with tempfile.TemporaryDirectory(prefix="crag-test-") as folder:
        yield Path(folder)


@contextmanager
def postgres_on_tcp() -> Iterator[Server]:
    """A PostgreSQL of its own on 127.0.0.1, with the user of the vendor guide."""
    with server_folder() as folder:
        port = free_port()
        server = EmbeddedServer(folder / "postgres", port=port)
        server.start()
        try:
            admin = server.settings()
            create_user(admin, USER, PASSWORD)
            execute(admin, "CREATE EXTENSION IF NOT EXISTS vector")
            user = DatabaseSettings("127.0.0.1", port, "crag", USER, PASSWORD)
            yield Server(user, admin, server.data)
        finally:
            server.stop()


def execute(settings: DatabaseSettings, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as whoever the settings name; its rows, if it has any."""
    import psycopg

    with psycopg.connect(**settings.conninfo(), autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


@dataclass
class Done:
    """What a run left: exit code, both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        lines = self.out.splitlines()
        assert len(lines) == 1, f"not one line of JSON: {self.out!r} {self.err!r}"
        return json.loads(lines[0])

    @property
    def error(self) -> dict[str, Any]:
        """The error object on stdout."""
        found: dict[str, Any] = self.json["error"]
        assert found["exit"] == self.code
        return found


@dataclass
class Owner:
    """One owner: a state folder, a working folder and settings."""

    home: Path
    work: Path
    settings: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's but what finds programs."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.work),
            "LANG": "C.UTF-8",
            "CRAG_HOME": str(self.home),
            **self.settings,
        }

    def use(self, database: DatabaseSettings) -> None:
        """Use this database, its password from the environment."""
        self.settings |= {
            "CRAG_DB_HOST": str(database.host),
            "CRAG_DB_PORT": str(database.port),
            "CRAG_DB_NAME": str(database.database),
            "CRAG_DB_USER": str(database.user),
            "CRAG_DB_PASSWORD": str(database.password),
        }

    def run(self, *arguments: str, stdin: bytes = b"") -> Done:
        """Run to the end."""
        done = subprocess.run(
            [BINARY, *arguments],
            input=stdin,
            capture_output=True,
            env=self.environment(),
            cwd=self.work,
            timeout=SECONDS,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *arguments: str) -> Any:
        """Run with ``--json``, expect exit 0, and give the object."""
        done = self.run(*arguments, "--json")
        assert done.code == 0, (done.code, done.out, done.err)
        return done.json

    @contextmanager
    def started(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A run in the background; killed at the end of the block if it still goes on."""
        process = subprocess.Popen(
            [BINARY, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment(),
            cwd=self.work,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
