"""Open the store that the settings name: a server, or the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from crag_core.errors import UsageError
from crag_core.store.settings import DatabaseSettings

if TYPE_CHECKING:
    from crag_core.store.interface import Store


@contextmanager
def open_store(
    settings: DatabaseSettings, *, embedded: bool = True, create: bool = True
) -> Iterator[Store]:
    """The store for one block.

    Args:
        settings: where the database is; where none is named, the embedded one is meant.
        embedded: whether the embedded server may be used.
        create: make the schema where it is missing.

    Raises:
        UsageError: no database is named and the embedded one may not be used.
        Unreachable: no answer within the time of the settings.
        CragError: authentication failed, no such database, no permission.
        NotSupported: no pgvector there, or the embedded server cannot run here.
    """
    from crag_core.store.postgres import PostgresStore

    if settings.given:
        with PostgresStore(settings, create=create) as store:
            yield store
        return
    if not embedded:
        raise UsageError(
            "No database is named.", hint="Name one with -H HOST or --db URL, or CRAG_DB_HOST."
        )
    from crag_core.store.embedded import EmbeddedServer

    with EmbeddedServer().lease() as local:
        limited = replace(local, statement_seconds=settings.statement_seconds)
        with PostgresStore(limited, create=create) as store:
            yield store
