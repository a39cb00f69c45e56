"""Which database to use and how long to wait for it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from crag_core.errors import BadInput, UsageError

CONNECT_SECONDS = 5
STATEMENT_SECONDS = 60
MIN_STATEMENT_SECONDS = 1
MAX_STATEMENT_SECONDS = 3600


@dataclass(frozen=True)
class DatabaseSettings:
    """Where PostgreSQL listens, or nothing for the embedded server.

    Args:
        host: name, address, or the folder of a Unix socket.
        url: ``postgresql://...``; wins over nothing, and may not be mixed with the others.
        statement_seconds: the longest that one statement may take.
    """

    host: str | None = None
    port: int | None = None
    database: str | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    url: str | None = field(default=None, repr=False)
    statement_seconds: int = STATEMENT_SECONDS

    def __post_init__(self) -> None:
        named = [name for name in ("host", "port", "database", "user") if getattr(self, name)]
        if self.url and named:
            raise UsageError(
                f"The database is given both as a URL and by its {' and '.join(named)}.",
                hint="Give either --db URL, or -H, -p, -d and -U.",
            )
        if not self.url and not self.host and named:
            raise UsageError(
                f"The database's {' and '.join(named)} are given, but not its host.",
                hint="Add -H HOST, or leave all of them out to use the embedded database.",
            )
        if self.port is not None and not 0 < self.port < 65536:
            raise UsageError(f"{self.port} is no TCP port.", hint="Ports go from 1 to 65535.")
        if not MIN_STATEMENT_SECONDS <= self.statement_seconds <= MAX_STATEMENT_SECONDS:
            raise UsageError(
                f"A database timeout of {self.statement_seconds} s is out of range.",
                hint=f"Give {MIN_STATEMENT_SECONDS} to {MAX_STATEMENT_SECONDS} seconds.",
            )

    @property
    def given(self) -> bool:
        """Whether a server is named at all; otherwise the embedded one is meant."""
        return bool(self.url or self.host)

    def conninfo(self) -> dict[str, Any]:
        """Parameters for libpq, the password among them.

        Raises:
            BadInput: the URL is not one of PostgreSQL.
        """
        if self.url:
            return {**_parse(self.url), **self._password()}
        named = {
            "host": self.host,
            "port": self.port,
            "dbname": self.database,
            "user": self.user,
        }
        return {key: value for key, value in named.items() if value} | self._password()

    def where(self) -> str:
        """The server in words, without any secret: ``host:port/database as user``."""
        given = self.conninfo()
        host = given.get("host", "localhost")
        port = "" if str(host).startswith("/") else f":{given.get('port', 5432)}"
        user = f" as {given['user']}" if given.get("user") else ""
        return f"{host}{port}/{given.get('dbname', given.get('user', ''))}{user}"

    def within(self, seconds: int) -> DatabaseSettings:
        """The same database with another limit for one statement."""
        return replace(self, statement_seconds=seconds)

    @property
    def url_has_password(self) -> bool:
        """Whether the URL itself carries a password.

        Raises:
            BadInput: the URL cannot be read.
        """
        return bool(self.url) and bool(_parse(self.url or "").get("password"))

    def _password(self) -> dict[str, str]:
        return {"password": self.password} if self.password else {}


def _parse(url: str) -> dict[str, Any]:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    refused = BadInput(
        "The database URL cannot be read.",
        hint="It looks like postgresql://USER@HOST:5432/DATABASE; put the password in a file.",
    )
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        raise refused from None
    if scheme not in ("postgresql", "postgres"):
        raise refused
    try:
        return dict(conninfo_to_dict(url))
    except ProgrammingError:
        raise refused from None
