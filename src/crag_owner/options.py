"""Options that several commands of the owner share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from crag_core.command import option
from crag_owner.keyfile import KeySource

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_COLLECTION = "documents"


def collection_option(function: F) -> F:
    """Give a command ``--collection``."""
    add = option(
        "--collection",
        default=DEFAULT_COLLECTION,
        metavar="NAME",
        help="Name of the collection; the database sees it.",
    )
    return add(function)


def key_options(function: F) -> F:
    """Give a command ``--master-key-file`` and ``--master-key``; it gets ``key: KeySource``."""

    @functools.wraps(function)
    def wrapper(
        *args: Any, master_key: str | None, master_key_file: str | None, **kwargs: Any
    ) -> Any:
        return function(*args, key=KeySource(master_key, master_key_file), **kwargs)

    made: F = _declared(
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
    return made


@dataclass(frozen=True)
class TrusteeSettings:
    """The owner's Trustee and where in it the key lies; without a URL the local one is meant."""

    url: str | None = None
    admin_key_file: str | None = None
    certificate: Path | None = None
    resource: str | None = None

    def key_resource(self, collection: str) -> str:
        """``repository/type/tag`` of the collection's key.

        Raises:
            BadInput: the resource that was given, or the collection's name, makes no such name.
        """
        from crag_core.trustee.kbs import resource_path

        return resource_path(self.resource or f"kbs:///default/crag/{collection}-key")

    def snapshot_resource(self, collection: str) -> str:
        """The same of the collection's anchor: the key's name with ``-snapshot`` for ``-key``."""
        return self.key_resource(collection).removesuffix("-key") + "-snapshot"


def trustee_options(function: F) -> F:
    """Give a command the options of the owner's Trustee; it gets ``trustee: TrusteeSettings``."""

    @functools.wraps(function)
    def wrapper(
        *args: Any,
        trustee: str | None,
        trustee_admin_key_file: str | None,
        trustee_ca: Path | None,
        resource: str | None,
        **kwargs: Any,
    ) -> Any:
        settings = TrusteeSettings(trustee, trustee_admin_key_file, trustee_ca, resource)
        return function(*args, trustee=settings, **kwargs)

    made: F = _declared(
        wrapper,
        option("--trustee", metavar="URL", help="The owner's Trustee."),
        option(
            "--trustee-admin-key-file",
            "--admin-key-file",
            "trustee_admin_key_file",
            metavar="FILE",
            help="The admin's Ed25519 key; without it, the local Trustee's.",
        ),
        option(
            "--trustee-ca",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Authorities to trust where the Trustee's URL is https.",
        ),
        option(
            "--resource",
            metavar="URI",
            help="Where the key goes. [default: kbs:///default/crag/<collection>-key]",
        ),
    )
    return made


def _declared(wrapper: Callable[..., Any], *options: Callable[[F], F]) -> Any:
    made: Any = wrapper
    for declare in reversed(options):
        made = declare(made)
    return made
