"""``crag-owner database``: the embedded PostgreSQL, kept up for other programs."""

from __future__ import annotations

from typing import Any

from crag_core.command import command, console, group
from crag_core.store.embedded import EmbeddedServer, EmbeddedStatus

database_group = group(
    "database",
    "Run the embedded PostgreSQL for other programs on this machine.",
    {
        "start": ("crag_owner.database_commands:start", "Start it; it stays up until stopped."),
        "stop": ("crag_owner.database_commands:stop", "Stop it."),
        "show": ("crag_owner.database_commands:show", "Whether it runs, and where."),
    },
)


def _as_json(status: EmbeddedStatus) -> dict[str, Any]:
    return {
        "running": status.running,
        "url": status.url,
        "folder": str(status.folder),
        "pid": status.pid,
        "keep": status.keep,
    }


def _report(status: EmbeddedStatus) -> None:
    state = f"runs as process {status.pid}" if status.running else "is not running"
    stays = " until `crag-owner database stop`" if status.running and status.keep else ""
    console().result(
        _as_json(status), f"The embedded database {state}{stays}.\n--db '{status.url}'"
    )


@command("start")
def start() -> None:
    """Start the embedded database; it stays up until ``crag-owner database stop``."""
    _report(EmbeddedServer().start())


@command("stop")
def stop() -> None:
    """Stop the embedded database, whoever uses it."""
    server = EmbeddedServer()
    stopped = server.stop()
    told = "The embedded database was stopped." if stopped else "The embedded database was not up."
    console().result({"stopped": stopped, **_as_json(server.status())}, told)


@command("show")
def show() -> None:
    """Say whether the embedded database runs, and how to reach it."""
    _report(EmbeddedServer().status())
