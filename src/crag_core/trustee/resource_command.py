"""``trustee resource set|delete|list``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from crag_core.command import command, console, option
from crag_core.errors import BadInput
from crag_core.trustee.admin_options import AdminSettings, admin_options

MAX_RESOURCE = 1024 * 1024


@command("set")
@click.argument("name")
@option("--file", "file", required=True, metavar="FILE", help="What to store; - is stdin.")
@admin_options
def set_(name: str, file: str, **settings: Any) -> None:
    """Set the resource NAME (kbs:///repository/type/tag) to the bytes of a file, as they are."""
    path = _path(name)
    data = _read(file)
    with AdminSettings(**settings).client() as admin:
        admin.set_resource(path, data)
    console().result(
        {"resource": path, "bytes": len(data)}, f"kbs:///{path} is set ({len(data)} bytes)"
    )


@command("delete")
@click.argument("name")
@admin_options
def delete(name: str, **settings: Any) -> None:
    """Delete the resource NAME; workloads that hold a copy keep it."""
    path = _path(name)
    with AdminSettings(**settings).client() as admin:
        admin.delete_resource(path)
    console().result({"resource": path, "deleted": True}, f"kbs:///{path} is deleted")


@command("list")
@admin_options
def list_(**settings: Any) -> None:
    """List the names of all resources."""
    with AdminSettings(**settings).client() as admin:
        names = admin.list_resources()

    def human() -> None:
        for name in names:
            console().line(f"kbs:///{name}")

    console().result({"resources": names}, human)


def _path(name: str) -> str:
    from crag_core.trustee.kbs import resource_path

    return resource_path(name)


def _read(file: str) -> bytes:
    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise BadInput(
            f"The file {file} cannot be read: {error.strerror}.", hint="Check the path."
        ) from None
    if not 0 < len(data) <= MAX_RESOURCE:
        raise BadInput(
            f"The file {file} has {len(data)} bytes; a resource has 1 to {MAX_RESOURCE}.",
            hint="Store keys here, and data elsewhere.",
        )
    return data
