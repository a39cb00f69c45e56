"""How the embedded server is set up: who may connect, what it logs, how much it takes."""

from __future__ import annotations

from pathlib import Path

from crag_core.store.embedded_user import Account
from crag_core.store.settings import DatabaseSettings

SUPERUSER = "crag"
INITDB = [
    "--username=" + SUPERUSER,
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-locale",
    "--auth-local=trust",
    "--auth-host=scram-sha-256",
    "--no-instructions",
]
# The socket's folder and the socket itself have mode 0700: only its owner and root get that far.
ACCESS = """\
local all all                trust
host  all all 127.0.0.1/32   scram-sha-256
host  all all ::1/128        scram-sha-256
"""


def server_settings(socket_folder: Path, port: int | None) -> dict[str, str]:
    """Settings of ``postgresql.conf``; the log never quotes a statement, a parameter or a row."""
    return {
        "listen_addresses": "127.0.0.1" if port else "",
        "port": str(port or 5432),
        "unix_socket_directories": str(socket_folder),
        "unix_socket_permissions": "0700",
        "max_connections": "50",
        "shared_buffers": "64MB",
        "maintenance_work_mem": "256MB",
        "max_wal_size": "256MB",
        # Containers often have 64 MB of /dev/shm, less than a parallel index build asks for.
        "max_parallel_maintenance_workers": "0",
        "jit": "off",
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "logging_collector": "off",
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
        "log_statement": "none",
        "log_min_duration_statement": "-1",
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
        "log_connections": "",
        "log_disconnections": "off",
        "log_checkpoints": "off",
    }


def install(data: Path, settings: dict[str, str], user: Account) -> None:
    """Write ``postgresql.conf``; the server is not running."""
    lines = [f"{name} = '{_quoted(value)}'\n" for name, value in settings.items()]
    _write(data / "postgresql.conf", "".join(lines), user)


def restrict_access(data: Path, user: Account) -> None:
    """Write ``pg_hba.conf``."""
    _write(data / "pg_hba.conf", ACCESS, user)


def ensure_database(settings: DatabaseSettings, name: str) -> None:
    """Make the database ``name`` where it is missing."""
    from dataclasses import replace

    from psycopg import errors as pg
    from psycopg import sql

    from crag_core.store.connection import connect
    from crag_core.store.failures import translated

    connection = connect(replace(settings, database="postgres"))
    try:
        with translated(settings.where()):
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
            if found.fetchone() is None:
                try:
                    connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                except pg.DuplicateDatabase:
                    return
    finally:
        connection.close()


def create_user(settings: DatabaseSettings, name: str, password: str) -> None:
    """Make a user with a password who may create schemas in the database, for use over TCP.

    The password is turned into its SCRAM verifier here, so that no statement holds it.

    Raises:
        CragError: the user exists already, or the database refuses.
    """
    from psycopg import sql

    from crag_core.store.connection import connect
    from crag_core.store.failures import translated

    connection = connect(settings)
    try:
        with translated(settings.where()):
            verifier = connection.pgconn.encrypt_password(
                password.encode(), name.encode(), b"scram-sha-256"
            )
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                    sql.Identifier(name), sql.Literal(verifier.decode())
                )
            )
            # Only a superuser may make an extension that is not marked as trusted.
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute(
                sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                    sql.Identifier(settings.database or name), sql.Identifier(name)
                )
            )
    finally:
        connection.close()


def last_fatal(log: Path) -> str:
    """The server's last word on why it did not start, from the end of its log."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-50:]
    except OSError:
        return "it left no log."
    for line in reversed(lines):
        for level in ("FATAL:", "PANIC:"):
            if level in line:
                return line.split(level, 1)[1].strip() + "."
    return lines[-1].strip() if lines else "its log is empty."


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "''")


def _write(path: Path, text: str, user: Account) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    user.own(path)
