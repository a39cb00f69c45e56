"""Errors of PostgreSQL become errors of crag, without the server's own words."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors as pg

from crag_core.errors import CragError, IntegrityViolated, NotSupported, Unreachable
from crag_core.store.failures import Silent, refused_connection, translate, translated

ROW = "Zeile mit Geheimnis"


@pytest.mark.parametrize(
    ("error", "expected", "code"),
    [
        (pg.QueryCanceled, Unreachable, "unreachable"),
        (pg.LockNotAvailable, Unreachable, "unreachable"),
        (pg.SerializationFailure, Unreachable, "unreachable"),
        (pg.DeadlockDetected, Unreachable, "unreachable"),
        (pg.AdminShutdown, Unreachable, "unreachable"),
        (pg.CrashShutdown, Unreachable, "unreachable"),
        (pg.CannotConnectNow, Unreachable, "unreachable"),
        (pg.TooManyConnections, Unreachable, "unreachable"),
        (pg.IdleInTransactionSessionTimeout, Unreachable, "unreachable"),
        (pg.ConnectionFailure, Unreachable, "unreachable"),
        (psycopg.OperationalError, Unreachable, "unreachable"),
        (psycopg.InterfaceError, Unreachable, "unreachable"),
        (pg.DiskFull, CragError, "database-full"),
        (pg.InsufficientPrivilege, CragError, "database-permission"),
        (pg.UndefinedTable, IntegrityViolated, "integrity-violated"),
        (pg.UndefinedColumn, IntegrityViolated, "integrity-violated"),
        (pg.DataCorrupted, IntegrityViolated, "integrity-violated"),
        (pg.UndefinedFile, NotSupported, "not-supported"),
        (pg.UndefinedObject, NotSupported, "not-supported"),
        (pg.CheckViolation, CragError, "database-refused"),
        (pg.InternalError_, CragError, "database-refused"),
    ],
)
def test_each_kind_has_its_exit(
    error: type[psycopg.Error], expected: type[CragError], code: str
) -> None:
    found = translate(error(ROW), "host:1/db")
    assert type(found) is expected
    assert found.code == code
    assert ROW not in found.diagnostics()
    assert "host:1/db" in found.message
    assert found.hint


def test_the_cause_is_not_chained() -> None:
    with pytest.raises(CragError) as refused, translated("host"):
        raise pg.CheckViolation(ROW)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__


def test_silence_is_said_with_its_time() -> None:
    with pytest.raises(Unreachable, match="65 s"), translated("host"):
        raise Silent(65)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('FATAL:  password authentication failed for user "rag"', "authentication-failed"),
        ("fe_sendauth: no password supplied", "authentication-failed"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', "authentication-failed"),
        ('FATAL:  database "x" does not exist', "no-database"),
        ('could not translate host name "x" to address', "unreachable"),
        ("connection refused", "unreachable"),
        ("connection timeout expired", "unreachable"),
    ],
)
def test_a_refused_connection_says_why(text: str, code: str) -> None:
    found = refused_connection(psycopg.OperationalError(text), "h:1/d as u", 5)
    assert found.code == code
    assert found.exit_code == (75 if code == "unreachable" else 1)
    assert "h:1/d" in found.message
