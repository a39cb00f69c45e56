"""``crag-owner key``: make, show and hand over the master key. No command prints it."""

from __future__ import annotations

from pathlib import Path

import click

from crag_core.command import command, console, group, option
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner import keyfile
from crag_owner.keyfile import KeySource
from crag_owner.options import (
    TrusteeSettings,
    collection_option,
    key_options,
    trustee_options,
)

key_group = group(
    "key",
    "Make, show and hand over the master key.",
    {
        "new": ("crag_owner.key_commands:new", "Make a random key in a new file."),
        "import": ("crag_owner.key_import:import_key", "Take a key, or make one of a passphrase."),
        "show": ("crag_owner.key_commands:show", "Print the key's check value, never the key."),
        "push": ("crag_owner.key_commands:push", "Put the key into the owner's Trustee."),
        "log": ("crag_owner.key_log:log", "Who got which key, when, with which measurement."),
    },
)


@command("new")
@option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    setting="key_out",
    help="File to make. [default: keys/master.key in the state folder]",
)
def new(out: Path | None) -> None:
    """Make a random master key of 32 bytes in a new file of mode 0600."""
    path = out or keyfile.default_path()
    made = keyfile.create(path)
    check = made.check_value()
    console().result(
        {"path": str(path), "check_value": check},
        f"{path}\ncheck value {check}\n"
        "Keep a copy of that file elsewhere: without it nobody can read the documents again.",
    )


@command("show")
@key_options
def show(key: KeySource) -> None:
    """Print the check value that tells this key from others without revealing it."""
    master = key.load()
    file = key.file
    check = master.check_value()
    console().result(
        {
            "check_value": check,
            "path": None if file is None else str(file),
            "bytes": len(master.raw),
            "weak": master.weak,
        },
        f"{check}\n{file or 'given on the command line or standard input'}"
        + ("\nweak: it can be guessed by trying" if master.weak else ""),
    )


@command("push")
@key_options
@collection_option
@trustee_options
@database_options
def push(
    key: KeySource, collection: str, trustee: TrusteeSettings, database: DatabaseSettings
) -> None:
    """Put the master key into the owner's Trustee, and the collection's anchor beside it.

    The Trustee releases both only to what its policies allow. A Trustee whose resource policy
    would release the key to anybody does not get it. The anchor is the newest snapshot
    that this machine has seen; with it, the provider notices a database that was rolled back.
    """
    from crag_owner.anchors import Anchors
    from crag_owner.trustee_push import push_anchor, push_key

    resource = trustee.key_resource(collection)
    snapshot = trustee.snapshot_resource(collection)
    master = key.load()
    anchor = Anchors(database, collection).load()
    released = push_key(trustee, collection, master)
    if anchor is not None:
        push_anchor(trustee, collection, anchor)
    else:
        console().note(
            f"This machine has seen no snapshot of {collection} yet; after an ingest or a verify, "
            "push again, so that the provider notices a database that is rolled back."
        )
    pushed = [f"kbs:///{resource}"] + ([f"kbs:///{snapshot}"] if anchor is not None else [])
    check = master.check_value()
    console().result(
        {
            "trustee": trustee.url,
            "resource": f"kbs:///{resource}",
            "snapshot_resource": None if anchor is None else f"kbs:///{snapshot}",
            "check_value": check,
            "released_to": released,
        },
        f"put {' and '.join(pushed)} into {trustee.url or 'the local Trustee'}\n"
        f"check value {check}",
    )
