"""Options that several commands of the owner share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from crag_core.command import option
from crag_core.errors import UsageError
from crag_owner.keyfile import KeySource

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_COLLECTION = "documents"


def collection_option(function: F) -> F:
    """Give a command ``--collection``."""
    return option(
        "--collection",
        default=DEFAULT_COLLECTION,
        metavar="NAME",
        help="Name of the collection; the database sees it.",
    )(function)


def key_options(function: F) -> F:
    """Give a command ``--master-key-file`` and ``--master-key``; it gets ``key: KeySource``."""

    @functools.wraps(function)
    def wrapper(
        *args: Any, master_key: str | None, master_key_file: str | None, **kwargs: Any
    ) -> Any:
        return function(*args, key=KeySource(master_key, master_key_file), **kwargs)

    return _declared(
        wrapper,
        option(
            "--master-key-file",
            metavar="FILE",
            help="File with the master key; - is stdin. [default: one that is made on first use]",
        ),
        option(
            "--master-key",
            metavar="KEY",
            literal_secret=True,
            help="The master key itself, readable by others on this machine.",
        ),
    )


@dataclass(frozen=True)
class TrusteeSettings:
    """The owner's Trustee, if one is given."""

    url: str | None = None
    admin_key_file: str | None = None
    certificate: Path | None = None
    resource: str | None = None

    def __post_init__(self) -> None:
        if self.url is None and self.admin_key_file is not None:
            raise UsageError(
                "A key for the Trustee's administration is given, but no Trustee.",
                hint="Add --trustee URL.",
            )

    def key_resource(self, collection: str) -> str:
        """Where the collection's key lies in the Trustee, without the scheme."""
        return resource_path(self.resource or f"kbs:///default/crag/{collection}-key")

    def snapshot_resource(self, collection: str) -> str:
        """Where the collection's anchor lies: the key's name with ``-snapshot`` for ``-key``."""
        return self.key_resource(collection).removesuffix("-key") + "-snapshot"


def resource_path(uri: str) -> str:
    """``repository/type/tag`` of a ``kbs:///`` URI.

    Raises:
        UsageError: it is none.
    """
    path = uri.removeprefix("kbs:///")
    parts = path.split("/")
    if len(parts) != 3 or not all(_plain(part) for part in parts):
        raise UsageError(
            f"{uri} is no resource of a Trustee.",
            hint="Write it like kbs:///default/crag/documents-key.",
        )
    return path


def _plain(part: str) -> bool:
    return part not in ("", ".", "..") and all(
        c.isascii() and (c.isalnum() or c in "-_.") for c in part
    )


def trustee_options(function: F) -> F:
    """Give a command the options of the owner's Trustee; it gets ``trustee: TrusteeSettings``."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        trustee: str | None,
        trustee_admin_key_file: str | None,
        trustee_ca_file: Path | None,
        resource: str | None,
        **kwargs: Any,
    ) -> Any:
        settings = TrusteeSettings(trustee, trustee_admin_key_file, trustee_ca_file, resource)
        return function(*args, trustee=settings, **kwargs)

    import click

    return _declared(
        wrapper,
        option("--trustee", metavar="URL", help="The owner's Trustee."),
        option(
            "--trustee-admin-key-file",
            metavar="FILE",
            help="Private key of its administration (PEM); - is stdin.",
        ),
        option(
            "--trustee-ca-file",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Certificate that its https must chain to.",
        ),
        option(
            "--resource",
            metavar="URI",
            help="Where the key goes. [default: kbs:///default/crag/<collection>-key]",
        ),
    )


def _declared(wrapper: Callable[..., Any], *options: Callable[[F], F]) -> Any:
    made: Any = wrapper
    for declare in reversed(options):
        made = declare(made)
    return made
