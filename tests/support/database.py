"""A real PostgreSQL for tests: one server per session, a collection of its own for each test.

Import the fixtures in a ``conftest.py``::

    from support.database import collection, owner_key, postgres, store  # noqa: F401
"""

# ruff: noqa: S608 - the hostile operator writes SQL by hand

from __future__ import annotations

import hashlib
import secrets
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from crag_core.keys import MasterKey
from crag_core.store.embedded import EmbeddedServer
from crag_core.store.embedded_config import create_user
from crag_core.store.settings import DatabaseSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from crag_core.collection import Collection, DocumentDraft
    from crag_core.store.postgres import PostgresStore

USER, PASSWORD = "rag", "Rag_1234"
DIMENSION = 24


@dataclass(frozen=True)
class Postgres:
    """A server: over TCP as a user with a password, over its socket as its superuser."""

    user: DatabaseSettings
    admin: DatabaseSettings
    server: EmbeddedServer

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.server.data

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the operator of the database can do: run any statement as superuser."""
        import psycopg

        with psycopg.connect(**self.admin.conninfo(), autocommit=True) as connection:
            cursor = connection.execute(statement, parameters or None)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_postgres(folder: Path) -> Postgres:
    """A server in ``folder`` that also listens on TCP; whoever calls stops it."""
    port = free_port()
    server = EmbeddedServer(folder, port=port)
    server.start()
    admin = server.settings()
    create_user(admin, USER, PASSWORD)
    user = DatabaseSettings("127.0.0.1", port, "crag", USER, PASSWORD)
    return Postgres(user, admin, server)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The session's server."""
    with temporary_folder() as folder:
        running = start_postgres(folder / "postgres")
        try:
            yield running
        finally:
            running.server.stop()


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder beside pytest's own, which every other run of pytest closes to all users again."""
    with tempfile.TemporaryDirectory(prefix="crag-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def store(postgres: Postgres) -> Iterator[PostgresStore]:
    """The session's server as a store, over TCP."""
    from crag_core.store.postgres import PostgresStore

    with PostgresStore(postgres.user) as opened:
        yield opened


@pytest.fixture
def owner_key() -> MasterKey:
    """A master key."""
    return MasterKey.generate()


@pytest.fixture
def collection(store: PostgresStore, owner_key: MasterKey) -> Collection:
    """A collection with six documents of three rows each: ``doc-0.txt`` to ``doc-5.txt``."""
    made = new_collection(store, owner_key)
    made.put_documents([draft(made, f"doc-{number}.txt") for number in range(6)])
    return made


def new_collection(
    store: PostgresStore, key: MasterKey, *, search_mode: str = "database"
) -> Collection:
    """An empty collection with a name that no other test has."""
    from crag_core.collection import Collection

    return Collection.create(
        store,
        f"c-{secrets.token_hex(8)}",
        key,
        dimension=DIMENSION,
        embedder="test-embedder",
        search_mode=search_mode,
    )


def draft(
    collection: Collection,
    source: str,
    *,
    version: str = "1",
    chunks: int = 3,
    texts: Sequence[str] | None = None,
    **fields: Any,
) -> DocumentDraft:
    """A document whose texts and vectors follow from its source and version."""
    from crag_core.collection import ChunkDraft, DocumentDraft

    wanted = texts or [
        f"passage {index} of {source} in version {version}" for index in range(chunks)
    ]
    return DocumentDraft(
        source=source,
        content_tag=collection.content_tag(f"{source} {version} {wanted}".encode()),
        chunks=[
            ChunkDraft(text, vector_of(text), page=index + 1, heading=f"Heading {index}")
            for index, text in enumerate(wanted)
        ],
        **fields,
    )


def vector_of(text: str, dimension: int = DIMENSION) -> NDArray[np.float32]:
    """A unit vector, float32[d], that is the same for the same text."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    result: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return result


@dataclass(frozen=True)
class Tables:
    """The tables of a collection, for those who attack it by SQL."""

    postgres: Postgres
    number: int

    @classmethod
    def of(cls, postgres: Postgres, collection: Collection) -> Tables:
        """The tables of ``collection``."""
        ((number,),) = postgres.sql(
            "SELECT id FROM crag.collections WHERE name = %s", collection.name
        )
        return cls(postgres, number)

    @property
    def rows(self) -> str:
        """Name of the table of rows."""
        return f"crag.rows_{self.number}_1"

    @property
    def documents(self) -> str:
        """Name of the table of documents."""
        return f"crag.documents_{self.number}_1"

    def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Run a statement with ``{rows}``, ``{documents}`` and ``{number}`` filled in."""
        filled = statement.format(rows=self.rows, documents=self.documents, number=self.number)
        return self.postgres.sql(filled, *parameters)

    def save(self) -> None:
        """Remember the collection's whole state."""
        for table in (self.rows, self.documents):
            self.postgres.sql(f"CREATE TABLE {table}_old AS TABLE {table}")
        self.sql(
            "CREATE TABLE crag.snapshots_{number}_old AS"
            " SELECT * FROM crag.snapshots WHERE collection_id = {number}"
        )

    def restore(self, *, snapshot: bool = True) -> None:
        """Put back what was saved."""
        for table in (self.rows, self.documents):
            self.postgres.sql(f"DELETE FROM {table}")
            self.postgres.sql(f"INSERT INTO {table} TABLE {table}_old")
        if snapshot:
            self.sql("DELETE FROM crag.snapshots WHERE collection_id = {number}")
            self.sql("INSERT INTO crag.snapshots TABLE crag.snapshots_{number}_old")
