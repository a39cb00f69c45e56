"""The options that say which Trustee to administer, and with which key."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from crag_core.command import option
from crag_core.config import home, read_secret_file
from crag_core.errors import BadInput, Unreachable, UsageError

if TYPE_CHECKING:
    from crag_core.trustee.admin import AdminClient

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class AdminSettings:
    """What the options say; what they leave out comes from the local Trustee's folder."""

    trustee: str | None
    admin_key_file: str | None
    trustee_ca: Path | None
    directory: Path | None
    trustee_kind: str | None = None
    admin_claims: tuple[str, ...] = ()

    def client(self) -> AdminClient:
        """A client of that Trustee.

        Raises:
            Unreachable: no URL is given and no local Trustee runs.
            BadInput: no key is given and the local folder has none, or the key cannot be used.
        """
        from crag_core.trustee.admin import AdminClient

        folder = self.directory or home() / "trustee"
        url = self.trustee or _running(folder)
        return AdminClient(
            url,
            _key(self.admin_key_file, folder),
            ca=self.trustee_ca,
            kind=self.trustee_kind,
            claims=dict(_claim(text) for text in self.admin_claims),
        )


def admin_options(function: F) -> F:
    """Give a command the options of :class:`AdminSettings`, by the same names."""
    made = (
        option(
            "--trustee",
            metavar="URL",
            help="The Trustee to administer; without it, the local one that runs.",
        ),
        option(
            "--trustee-admin-key-file",
            "--admin-key-file",
            "admin_key_file",
            setting="trustee_admin_key_file",
            metavar="FILE",
            help="The admin's Ed25519 key; without it, the local Trustee's.",
        ),
        option(
            "--trustee-ca",
            type=click_path(),
            metavar="FILE",
            help="Authorities to trust where the Trustee's URL is https.",
        ),
        kind_option,
        option(
            "--trustee-admin-claim",
            "admin_claims",
            setting="trustee_admin_claims",
            multiple=True,
            metavar="NAME=VALUE",
            help="A claim that the Trustee wants of its admin (role, iss, aud); may be repeated.",
        ),
        directory_option,
    )
    for add in reversed(made):
        function = add(function)
    return function


def click_path() -> Any:
    """The type of options that name a file or folder."""
    import click

    return click.Path(path_type=Path)


def kind_option(function: F) -> F:
    """Give a command ``--trustee-kind``: which kind of server it talks to."""
    import click

    from crag_core.trustee.dialects import SERVERS

    return option(
        "--trustee-kind",
        type=click.Choice(list(SERVERS)),
        help="Which Trustee it is; without it, that is found out by asking.",
    )(function)


def pccs_ca_option(function: F) -> F:
    """Give a command ``--pccs-ca``: what to trust where the PCCS is reached by https."""
    return option(
        "--pccs-ca",
        setting="trustee_pccs_ca",
        type=click_path(),
        metavar="FILE",
        help="The PCCS's own certificate or its authority's (PEM): most PCCS sign their own.",
    )(function)


def directory_option(function: F) -> F:
    """Give a command ``--dir``: the folder of the local Trustee."""
    return option(
        "--dir",
        "directory",
        setting="trustee_dir",
        type=click_path(),
        metavar="DIR",
        help="Folder of the local Trustee; by default 'trustee' in crag's own folder.",
    )(function)


def _claim(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or name in ("iat", "exp", "nbf"):
        raise UsageError(
            f"{text!r} is not a claim.", hint="Write NAME=VALUE, for example role=admin."
        )
    return name, value


def _running(folder: Path) -> str:
    try:
        found = json.loads((folder / "endpoint.json").read_bytes())
        return str(found["url"])
    except (OSError, ValueError, KeyError, TypeError):
        raise Unreachable(
            f"No local Trustee runs from {folder}.",
            hint="Start it with 'trustee serve', or name another one with --trustee URL.",
        ) from None


def _key(path: str | None, folder: Path) -> bytes:
    if path is None and not (folder / "admin.key").exists():
        raise BadInput(
            f"There is no admin key in {folder}.",
            hint="Name it with --trustee-admin-key-file.",
        )
    return read_secret_file(path or str(folder / "admin.key"), "admin's key")
