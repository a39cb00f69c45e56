"""The database options that every command with a database has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from crag_core.command import option, session
from crag_core.config import read_secret_file
from crag_core.errors import BadInput, UsageError
from crag_core.store.opening import open_store
from crag_core.store.settings import STATEMENT_SECONDS, DatabaseSettings

__all__ = ["DatabaseSettings", "database_options", "open_store"]

F = TypeVar("F", bound=Callable[..., Any])


def _warn_of_password(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> str | None:
    given = ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    if value and given and DatabaseSettings(url=value).url_has_password:
        session(ctx).console.warn(
            "--db carries a password on the command line, where other users of this machine can "
            "read it; prefer --password-file or the environment."
        )
    return value


def database_options(function: F) -> F:
    """Give a command the database options; it gets one argument ``database``.

    Settings: ``db_host``, ``db_port``, ``db_name``, ``db_user``, ``db_password``,
    ``db_password_file``, ``db_url``, ``db_timeout`` (so ``CRAG_DB_HOST`` and so on).
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        taken = {name: kwargs.pop(name) for name in _NAMES}
        return function(*args, database=_settings(**taken), **kwargs)

    decorated: Any = wrapper
    for decorate in reversed(_DECLARED):
        decorated = decorate(decorated)
    result: F = decorated
    return result


_NAMES = (
    "db_host",
    "db_port",
    "db_name",
    "db_user",
    "db_password",
    "db_password_file",
    "db_url",
    "db_timeout",
)
_DECLARED = (
    option("-H", "--host", "db_host", setting="db_host", help="Database server."),
    option("-p", "--port", "db_port", setting="db_port", type=click.IntRange(1, 65535)),
    option("-d", "--database", "db_name", setting="db_name", help="Database name."),
    option("-U", "--user", "db_user", setting="db_user", help="Database user."),
    option(
        "-P",
        "--password",
        "db_password",
        setting="db_password",
        literal_secret=True,
        help="Database password; prefer --password-file.",
    ),
    option(
        "--password-file",
        "db_password_file",
        setting="db_password_file",
        metavar="FILE",
        help="File with the database password; - is stdin.",
    ),
    option(
        "--db",
        "db_url",
        setting="db_url",
        metavar="URL",
        secret=True,
        callback=_warn_of_password,
        help="postgresql://USER@HOST:PORT/DATABASE, in place of the options above.",
    ),
    option(
        "--db-timeout",
        "db_timeout",
        setting="db_timeout",
        type=click.IntRange(1, 3600),
        default=STATEMENT_SECONDS,
        metavar="SECONDS",
        help="Longest that one statement may take.",
    ),
)


def _settings(
    *,
    db_host: str | None,
    db_port: int | None,
    db_name: str | None,
    db_user: str | None,
    db_password: str | None,
    db_password_file: str | None,
    db_url: str | None,
    db_timeout: int,
) -> DatabaseSettings:
    if db_password and db_password_file:
        raise UsageError(
            "The database password is given twice.",
            hint="Keep one of --password and --password-file.",
        )
    password = db_password
    if db_password_file:
        try:
            password = read_secret_file(db_password_file, "database password").decode("utf-8")
        except UnicodeDecodeError:
            raise BadInput(
                f"The database password in {db_password_file} is not UTF-8.",
                hint="Save the file as UTF-8.",
            ) from None
    return DatabaseSettings(
        host=db_host,
        port=db_port,
        database=db_name,
        user=db_user,
        password=password,
        url=db_url,
        statement_seconds=db_timeout,
    )
