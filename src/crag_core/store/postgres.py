"""The store in PostgreSQL with pgvector, by psycopg 3 and COPY BINARY."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

from psycopg import errors as pg
from psycopg import sql

from crag_core.errors import BadInput, CragError, NotSupported
from crag_core.store import schema
from crag_core.store.connection import BoundedConnection, Connections, connect
from crag_core.store.failures import translated
from crag_core.store.interface import (
    Generation,
    Retired,
    StoredCollection,
    StoredDocument,
    StoredRow,
    StoredSnapshot,
    TableSizes,
)
from crag_core.store.lookup import PostgresLookup
from crag_core.store.new_rows import NewRows
from crag_core.store.rotations import RotationReads, RotationWrites, retire, wait_for_readers
from crag_core.store.rowcodec import (
    COPY_HEADER,
    COPY_TRAILER,
    DOCUMENT_COLUMNS,
    DOCUMENT_SELECT,
    ROW_COLUMNS,
    ROW_SELECT,
    decode_document,
    decode_row,
    encode_documents,
    encode_rows,
)
from crag_core.store.settings import DatabaseSettings

BATCH = 2000
INDEX_SECONDS = 3600
_SNAPSHOT = "SELECT body, signature, state FROM crag.snapshots WHERE collection_id = %s"
_SNAPSHOT_LOCKED = (
    "SELECT body, signature, state FROM crag.snapshots WHERE collection_id = %s FOR UPDATE"
)


class PostgresReader(RotationReads):
    """One transaction that reads."""

    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection

    def collection(self, name: str) -> StoredCollection | None:
        """The collection of that name, or None."""
        found = self._one(
            "SELECT id, name, profile, nonce, sealed FROM crag.collections WHERE name = %s", name
        )
        return StoredCollection(*found) if found else None

    def snapshot(self, collection: int) -> StoredSnapshot | None:
        """The collection's snapshot, or None where its record is gone."""
        return self._snapshot(_SNAPSHOT, collection)

    def rows(self, generation: Generation) -> Iterator[list[StoredRow]]:
        """All rows in batches of 2000."""
        query = _select(ROW_SELECT, schema.rows_table(generation))
        for batch in self._stream(query):
            yield [decode_row(record) for record in batch]

    def rows_by_id(self, generation: Generation, ids: Sequence[bytes]) -> list[StoredRow]:
        """Those of the rows that exist."""
        query = _select(ROW_SELECT, schema.rows_table(generation), "WHERE id = ANY(%s::uuid[])")
        return [decode_row(record) for record in self._by_id(query, ids)]

    def documents(self, generation: Generation) -> Iterator[list[StoredDocument]]:
        """All documents in batches of 2000."""
        query = _select(DOCUMENT_SELECT, schema.documents_table(generation))
        for batch in self._stream(query):
            yield [decode_document(record) for record in batch]

    def documents_by_id(self, generation: Generation, ids: Sequence[bytes]) -> list[StoredDocument]:
        """Those of the documents that exist."""
        table = schema.documents_table(generation)
        query = _select(DOCUMENT_SELECT, table, "WHERE id = ANY(%s::uuid[])")
        return [decode_document(record) for record in self._by_id(query, ids)]

    def expired(self, generation: Generation, now: int) -> Iterator[list[StoredRow]]:
        """The rows that expired at ``now`` or before, in batches of 2000."""
        query = _select(ROW_SELECT, schema.rows_table(generation), "WHERE expires <= %s")
        for batch in self._stream(query, now):
            yield [decode_row(record) for record in batch]

    def sizes(self, generation: Generation) -> TableSizes:
        """Counts of rows and documents, bytes on disk, and whether there is an index."""
        rows, documents = schema.rows_table(generation), schema.documents_table(generation)
        statement = sql.SQL(
            "SELECT (SELECT count(*) FROM {rows}), (SELECT count(*) FROM {documents}),"
            " pg_total_relation_size({rows_name}::regclass)"
            " + pg_total_relation_size({documents_name}::regclass),"
            " to_regclass({index}) IS NOT NULL"
        ).format(
            rows=rows,
            documents=documents,
            rows_name=sql.Literal(rows.as_string(None)),
            documents_name=sql.Literal(documents.as_string(None)),
            index=sql.Literal(f"crag.{schema.index_name(generation)}"),
        )
        found = self._connection.execute(statement).fetchone()
        return TableSizes(*(found or (0, 0, 0, False)))

    def _one(self, query: str, *parameters: object) -> tuple[Any, ...] | None:
        return self._connection.execute(query, parameters, binary=True).fetchone()

    def _snapshot(self, query: str, collection: int) -> StoredSnapshot | None:
        found = self._one(query, collection)
        return StoredSnapshot(*found) if found else None

    def _by_id(self, query: sql.Composed, ids: Sequence[bytes]) -> list[tuple[Any, ...]]:
        names = [identity.hex() for identity in ids]
        return self._connection.execute(query, [names], binary=True).fetchall()

    def _stream(self, query: sql.Composed, *parameters: object) -> Iterator[list[tuple[Any, ...]]]:
        with self._connection.cursor("crag_stream") as cursor:
            cursor.execute(query, parameters or None, binary=True)
            while batch := cursor.fetchmany(BATCH):
                yield batch


class _Abandoned(Exception):
    """What is copied cannot be made any further."""


class PostgresWriter(RotationWrites, PostgresReader):
    """One transaction that changes a collection."""

    def lock(self, collection: int) -> StoredSnapshot | None:
        """The snapshot, its record locked until the transaction ends."""
        return self._snapshot(_SNAPSHOT_LOCKED, collection)

    def insert_rows(self, generation: Generation, parts: Iterable[NewRows]) -> None:
        """COPY rows in; the server takes one part while the next is made."""
        full = (part for part in parts if part.ids)
        first = next(full, None)
        if first is not None:
            stream = map(encode_rows, chain([first], full))
            self._copy(schema.rows_table(generation), ROW_COLUMNS, stream)

    def delete_rows(self, generation: Generation, ids: Sequence[bytes]) -> int:
        """Remove rows; how many there were."""
        return self._delete(schema.rows_table(generation), ids)

    def insert_documents(self, generation: Generation, documents: Sequence[StoredDocument]) -> None:
        """COPY documents in."""
        if documents:
            table = schema.documents_table(generation)
            self._copy(table, DOCUMENT_COLUMNS, [encode_documents(documents)])

    def delete_documents(self, generation: Generation, ids: Sequence[bytes]) -> int:
        """Remove documents; how many there were."""
        return self._delete(schema.documents_table(generation), ids)

    def put_snapshot(self, collection: int, snapshot: StoredSnapshot) -> None:
        """Replace the snapshot."""
        self._connection.execute(
            "INSERT INTO crag.snapshots (collection_id, body, signature, state)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT (collection_id) DO UPDATE"
            " SET body = excluded.body, signature = excluded.signature, state = excluded.state",
            [collection, snapshot.body, snapshot.signature, snapshot.state],
        )

    def put_private(self, collection: int, nonce: bytes, sealed: bytes) -> None:
        """Replace the sealed half of the collection's profile."""
        self._connection.execute(
            "UPDATE crag.collections SET nonce = %s, sealed = %s WHERE id = %s",
            [nonce, sealed, collection],
        )

    def _copy(self, table: sql.Identifier, columns: str, parts: Iterable[bytes]) -> None:
        statement = sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)").format(
            table=table, columns=sql.SQL(columns)
        )
        failed: list[BaseException] = []
        try:
            with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(COPY_HEADER)
                try:
                    for part in parts:
                        # psycopg cuts it into pieces, which of a view are no copies.
                        copy.write(memoryview(part))
                except BaseException as error:  # noqa: BLE001 - it is raised again below
                    # The text of what is raised in here goes to the server and into its log.
                    failed.append(error)
                    raise _Abandoned from None
                copy.write(COPY_TRAILER)
        except _Abandoned:
            raise failed[0] from failed[0].__cause__

    def _delete(self, table: sql.Identifier, ids: Sequence[bytes]) -> int:
        if not ids:
            return 0
        statement = sql.SQL("DELETE FROM {table} WHERE id = ANY(%s::uuid[])").format(table=table)
        names = [identity.hex() for identity in ids]
        return self._connection.execute(statement, [names]).rowcount


def _select(columns: str, table: sql.Identifier, suffix: str = "") -> sql.Composed:
    return sql.SQL("SELECT {columns} FROM {table} {suffix}").format(
        columns=sql.SQL(columns), table=table, suffix=sql.SQL(suffix)
    )


class PostgresStore:
    """crag's schema in one PostgreSQL database.

    Args:
        settings: where it is.
        create: make the extension, the schema and its tables where they are missing.

    Raises:
        Unreachable: the server does not answer.
        CragError: authentication failed, no such database, no permission.
        NotSupported: no pgvector, or a schema of a newer crag.
        BadInput: no schema of crag there and ``create`` is off.
    """

    def __init__(self, settings: DatabaseSettings, *, create: bool = True) -> None:
        self.settings = settings
        self._connections = Connections(settings)
        self.where = self._connections.where
        with self._connections.connection() as connection:
            _prepare(connection, self.where, create=create)

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        with self._connections.connection() as connection:
            found = connection.execute("SELECT name FROM crag.collections").fetchall()
        return sorted(name for (name,) in found)

    @contextmanager
    def reader(self) -> Iterator[PostgresReader]:
        """A consistent read-only view (REPEATABLE READ)."""
        begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
        with self._connections.connection(begin) as connection:
            yield PostgresReader(connection)
            connection.execute("COMMIT")

    @contextmanager
    def lookup(self) -> Iterator[PostgresLookup]:
        """What a search asks, each by a statement that sees one state of the database."""
        with self._connections.connection() as connection:
            yield PostgresLookup(connection)

    @contextmanager
    def writer(self) -> Iterator[PostgresWriter]:
        """A transaction: committed at the end of the block, undone by any exception.

        After an exception the connection is closed, and the server rolls back.
        """
        with self._connections.connection("BEGIN") as connection:
            yield PostgresWriter(connection)
            connection.execute("COMMIT")

    def create_collection(
        self,
        *,
        name: str,
        profile: str,
        nonce: bytes,
        sealed: bytes,
        epoch: int,
        dimension: int,
        snapshot: StoredSnapshot,
    ) -> StoredCollection:
        """Record a collection, make its tables and put its first snapshot, in one transaction."""
        with self.writer() as writer:
            connection = writer._connection
            try:
                found = connection.execute(
                    "INSERT INTO crag.collections (name, profile, nonce, sealed)"
                    " VALUES (%s, %s, %s, %s) RETURNING id",
                    [name, profile, nonce, sealed],
                ).fetchone()
            except pg.UniqueViolation:
                raise CragError(
                    f"There is a collection {name} already in the database {self.where}.",
                    hint="Use it, or choose another name with --collection.",
                    code="collection-exists",
                ) from None
            identity: int = found[0] if found else 0
            connection.execute(schema.create_tables(Generation(identity, epoch, dimension)))
            writer.put_snapshot(identity, snapshot)
        return StoredCollection(identity, name, profile, nonce, sealed)

    def drop_collection(self, collection: int) -> None:
        """Remove a collection with all its tables, of whichever epoch."""
        with self.writer() as writer:
            connection = writer._connection
            writer.lock(collection)
            names = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'crag' AND tablename ~ %s",
                [f"^(rows|documents)_{collection}_[0-9]+$"],
            ).fetchall()
            for (table,) in names:
                connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("crag", table)))
            connection.execute("DELETE FROM crag.collections WHERE id = %s", [collection])

    def retire(self, keep: Generation) -> Retired:
        """Drop the tables of every other epoch and the record of the rotation.

        Waits up to 30 s for transactions that still read them.
        """
        with self._connections.connection() as connection:
            wait_for_readers(connection)
            return retire(connection, keep)

    def index(self, generation: Generation) -> bool:
        """Make the indexes of vectors and of tags where one is missing; may take up to an hour."""
        with self._connections.connection() as connection:
            missing = [
                statement
                for name, statement in schema.indexes(generation)
                if not _exists(connection, name)
            ]
        if not missing:
            return False
        connection = connect(self.settings)
        try:
            with translated(self.where):
                connection.silence = INDEX_SECONDS
                connection.execute(f"SET statement_timeout = '{INDEX_SECONDS}s'")
                for statement in missing:
                    connection.execute(statement)
        finally:
            connection.close()
        return True

    def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    def __enter__(self) -> PostgresStore:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _prepare(connection: BoundedConnection, where: str, *, create: bool) -> None:
    version = _version(connection)
    if version is None:
        if not create:
            raise BadInput(
                f"The database {where} holds no collection of crag.",
                hint="Ingest documents with `crag-owner ingest`, or name another database.",
            )
        connection.execute("BEGIN")
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [schema.SCHEMA_LOCK])
        # Another program may have made it while this one waited for the lock.
        if _version(connection) is None:
            connection.execute("SET LOCAL client_min_messages = warning")
            _ensure_extension(connection, where)
            connection.execute(schema.SCHEMA)
            connection.execute("INSERT INTO crag.version VALUES (%s)", [schema.VERSION])
        connection.execute("COMMIT")
        version = _version(connection)
    if version != schema.VERSION:
        raise NotSupported(
            f"The database {where} has schema {version} of crag; this program knows only "
            f"{schema.VERSION}.",
            hint="Use the version of crag that wrote it.",
        )


def _ensure_extension(connection: BoundedConnection, where: str) -> None:
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except pg.InsufficientPrivilege:
        raise CragError(
            f"The user of the database {where} may not add pgvector to it.",
            hint="Have an administrator run `CREATE EXTENSION vector;` in that database once.",
            code="database-permission",
        ) from None


def _exists(connection: BoundedConnection, name: str) -> bool:
    found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [f"crag.{name}"]).fetchone()
    return bool(found and found[0])


def _version(connection: BoundedConnection) -> int | None:
    found = connection.execute("SELECT to_regclass('crag.version') IS NOT NULL").fetchone()
    if not found or not found[0]:
        return None
    row = connection.execute("SELECT version FROM crag.version").fetchone()
    return int(row[0]) if row else None
