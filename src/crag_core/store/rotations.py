"""A rotation to the next key epoch as PostgreSQL sees it: its record, its tables, the switch.

The record lies in ``crag.rotations`` from the first batch until the old tables are gone. The table
is made by the first rotation in a database.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from psycopg import errors as pg
from psycopg import sql

from crag_core.store import schema
from crag_core.store.interface import Generation, Retired, StoredRotation, StoredSnapshot

if TYPE_CHECKING:
    from crag_core.store.connection import BoundedConnection

WAIT_SECONDS = 30.0
POLL_SECONDS = 0.05
_TABLE = """
CREATE TABLE IF NOT EXISTS crag.rotations (
    collection_id integer PRIMARY KEY REFERENCES crag.collections ON DELETE CASCADE,
    profile text NOT NULL,
    nonce bytea NOT NULL,
    sealed bytea NOT NULL
)
"""
# What the superseded profile, salt and snapshot were in.
_SMALL_TABLES = ("collections", "snapshots", "rotations")
_REFUSED = (pg.InsufficientPrivilege, pg.LockNotAvailable, pg.QueryCanceled)


class RotationReads:
    """What a reader can ask about a rotation."""

    _connection: BoundedConnection

    def rotation(self, collection: int) -> StoredRotation | None:
        """The record of the collection's rotation, or None."""
        there = self._connection.execute("SELECT to_regclass('crag.rotations') IS NOT NULL")
        if not (there.fetchone() or (False,))[0]:
            return None
        found = self._connection.execute(
            "SELECT profile, nonce, sealed FROM crag.rotations WHERE collection_id = %s",
            [collection],
            binary=True,
        ).fetchone()
        return StoredRotation(*found) if found else None


class RotationWrites(RotationReads):
    """What a transaction can change about a rotation."""

    def begin_rotation(self, generation: Generation, record: StoredRotation) -> None:
        """Make the tables of the next generation, empty, and put the record."""
        self._connection.execute("SET LOCAL client_min_messages = warning")
        self._connection.execute(_TABLE)
        self._drop(generation)
        self._connection.execute(schema.create_tables(generation))
        self.put_rotation(generation.collection, record)

    def put_rotation(self, collection: int, record: StoredRotation) -> None:
        """Replace the record."""
        self._connection.execute(
            "INSERT INTO crag.rotations (collection_id, profile, nonce, sealed)"
            " VALUES (%s, %s, %s, %s) ON CONFLICT (collection_id) DO UPDATE"
            " SET profile = excluded.profile, nonce = excluded.nonce, sealed = excluded.sealed",
            [collection, record.profile, record.nonce, record.sealed],
        )

    def abandon_rotation(self, generation: Generation) -> None:
        """Drop the tables of a generation that was never switched to, and the record."""
        self._drop(generation)
        self._connection.execute(
            "DELETE FROM crag.rotations WHERE collection_id = %s", [generation.collection]
        )

    def switch(
        self,
        collection: int,
        *,
        profile: str,
        nonce: bytes,
        sealed: bytes,
        snapshot: StoredSnapshot,
    ) -> None:
        """Make another profile and snapshot the collection's."""
        self._connection.execute(
            "UPDATE crag.collections SET profile = %s, nonce = %s, sealed = %s WHERE id = %s",
            [profile, nonce, sealed, collection],
        )
        self._connection.execute(
            "UPDATE crag.snapshots SET body = %s, signature = %s, state = %s"
            " WHERE collection_id = %s",
            [snapshot.body, snapshot.signature, snapshot.state, collection],
        )

    def _drop(self, generation: Generation) -> None:
        for table in (schema.rows_table(generation), schema.documents_table(generation)):
            self._connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))


def wait_for_readers(connection: BoundedConnection, seconds: float = WAIT_SECONDS) -> bool:
    """Wait until each transaction of this database that is open now has ended; whether they did.

    One of another user cannot be seen by every user; its reader asks again when the old tables are
    gone.
    """
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start <= %s"
    )
    moment = connection.execute("SELECT clock_timestamp()").fetchone()
    deadline = time.monotonic() + seconds
    while (connection.execute(query, moment).fetchone() or (0,))[0]:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def retire(connection: BoundedConnection, keep: Generation) -> Retired:
    """Drop the tables of every other generation and the record, and clear what can be cleared.

    The table files go with the commit. Superseded versions of the profile, the snapshot and the
    record are removed by rewriting their small tables; the checkpoint lets the server recycle its
    write-ahead log. Whether the user may do that is in the answer.
    """
    _drop_others(connection, keep)
    rewritten = [_rewritten(connection, table) for table in _SMALL_TABLES]
    try:
        connection.execute("CHECKPOINT")
    except _REFUSED:
        return Retired(rewritten=all(rewritten), checkpoint=False)
    return Retired(rewritten=all(rewritten), checkpoint=True)


def _drop_others(connection: BoundedConnection, keep: Generation) -> None:
    kept = {f"{kind}_{keep.collection}_{keep.epoch}" for kind in ("rows", "documents")}
    connection.execute("BEGIN")
    names = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'crag' AND tablename ~ %s",
        [f"^(rows|documents)_{keep.collection}_[0-9]+$"],
    ).fetchall()
    for (table,) in names:
        if table not in kept:
            connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("crag", table)))
    connection.execute("DELETE FROM crag.rotations WHERE collection_id = %s", [keep.collection])
    connection.execute("COMMIT")


def _rewritten(connection: BoundedConnection, table: str) -> bool:
    with contextlib.suppress(*_REFUSED):
        connection.execute(sql.SQL("VACUUM (FULL) {}").format(sql.Identifier("crag", table)))
        return True
    return False
