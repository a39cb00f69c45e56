"""What went wrong in PostgreSQL, said in crag's terms.

The texts of the server are not passed on: they may quote parameters or whole rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors as pg

from crag_core.errors import CragError, IntegrityViolated, NotSupported, Unreachable

AGAIN = "An unfinished transaction leaves nothing behind; the same command may be tried again."


_CHANGED_SCHEMA = (
    pg.UndefinedTable,
    pg.UndefinedColumn,
    pg.UndefinedFunction,
    pg.InvalidSchemaName,
    pg.WrongObjectType,
    pg.DatatypeMismatch,
)


class Silent(Exception):
    """The server said nothing for longer than it may."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"silent for {seconds:g} s")
        self.seconds = seconds


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn every error of the driver inside the block into a :class:`CragError`."""
    try:
        yield
    except Silent as error:
        raise Unreachable(
            f"The database {where} did not answer within {error.seconds:g} s.", hint=AGAIN
        ) from None
    except psycopg.Error as error:
        raise translate(error, where) from None


def translate(error: psycopg.Error, where: str) -> CragError:
    """The error of crag for an error of the driver during a statement."""
    if isinstance(error, pg.QueryCanceled):
        return Unreachable(
            f"The database {where} took longer for a statement than it may.",
            hint=f"{AGAIN} Give more time with CRAG_DB_TIMEOUT.",
        )
    if isinstance(error, pg.LockNotAvailable):
        return Unreachable(
            f"Another writer holds the collection in the database {where}.",
            hint="Wait until it is done, then run the same command again.",
        )
    if isinstance(error, (pg.SerializationFailure, pg.DeadlockDetected)):
        return Unreachable(f"Another writer came in between in the database {where}.", hint=AGAIN)
    if isinstance(error, pg.DiskFull):
        return CragError(
            f"The disk of the database {where} is full.",
            hint=f"Free some space there. {AGAIN}",
            code="database-full",
        )
    if isinstance(error, pg.InsufficientPrivilege):
        return CragError(
            f"The database {where} refuses this user what the command needs.",
            hint="The user needs CREATE on the database, or USAGE on schema crag and its tables.",
            code="database-permission",
        )
    if isinstance(error, _CHANGED_SCHEMA):
        return IntegrityViolated(
            f"A table of the collection is missing or changed in the database {where}.",
            hint="Restore it from a backup, or make the collection anew from its documents.",
        )
    if isinstance(error, (pg.UndefinedFile, pg.FeatureNotSupported, pg.UndefinedObject)):
        return NotSupported(
            f"The database {where} has no pgvector 0.7 or newer.",
            hint="Install the extension 'vector' on that server, or use the embedded database.",
        )
    if isinstance(error, (pg.DataCorrupted, pg.IndexCorrupted)):
        return IntegrityViolated(
            f"The files of the database {where} are damaged.",
            hint="Restore it from a backup, or make the collection anew from its documents.",
        )
    if is_connection_loss(error):
        return Unreachable(f"The connection to the database {where} was lost.", hint=AGAIN)
    kind = type(error).__name__
    return CragError(
        f"The database {where} refused a statement: {kind} (SQLSTATE {error.sqlstate or 'none'}).",
        hint=f"See the server's log. {AGAIN}",
        code="database-refused",
    )


def is_connection_loss(error: psycopg.Error) -> bool:
    """Whether the server went away, is starting, stopping, or has no connection left."""
    if isinstance(error, (pg.IdleInTransactionSessionTimeout, pg.TransactionTimeout)):
        return True
    if not isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)):
        return False
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "57", "53")


def refused_connection(error: psycopg.Error, where: str, seconds: float) -> CragError:
    """The error of crag for a connection that was not made."""
    text = str(error)
    state = error.sqlstate or ""
    if state in ("28P01", "28000") or "authentication" in text or "pg_hba.conf" in text:
        return CragError(
            f"Authentication failed at the database {where}.",
            hint="Check the user and the password (-U, --password-file, CRAG_DB_PASSWORD).",
            code="authentication-failed",
        )
    if "no password supplied" in text:
        return CragError(
            f"The database {where} wants a password and none was given.",
            hint="Give one with --password-file FILE or CRAG_DB_PASSWORD.",
            code="authentication-failed",
        )
    if state == "3D000" or ("database" in text and "does not exist" in text):
        return CragError(
            f"There is no such database: {where}.",
            hint="Create it on the server, or name another one with -d.",
            code="no-database",
        )
    if "could not translate host name" in text or "resolve" in text:
        return Unreachable(
            f"The host of the database {where} has no address.", hint="Check the name after -H."
        )
    return Unreachable(
        f"The database {where} does not answer (waited up to {seconds:g} s).",
        hint="Check that it runs and that -H and -p are right, then try again.",
    )
