"""``crag-owner rotate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from crag_core.command import command, console, option
from crag_core.errors import BadInput, IntegrityViolated, UsageError
from crag_core.store.options import DatabaseSettings, database_options, open_store
from crag_owner import keyfile
from crag_owner.keyfile import KeySource
from crag_owner.options import TrusteeSettings, collection_option, key_options, trustee_options

if TYPE_CHECKING:
    from crag_core.collection.rotation import Changes, Rotated
    from crag_core.keys import MasterKey
    from crag_core.store.interface import Store
    from crag_owner.anchors import Anchors


@command("rotate")
@database_options
@collection_option
@key_options
@option(
    "--new-master-key-file",
    metavar="FILE",
    help="File with the master key of the new epoch; - is stdin. [default: the same key]",
)
@option(
    "--search-mode",
    type=click.Choice(["database", "enclave"]),
    setting="rotate_search_mode",
    help="Of the new epoch. [default: as it is]",
)
@option(
    "--scaling-factor",
    type=float,
    setting="rotate_scaling_factor",
    help="Of the new epoch. [default: as it is]",
)
@option(
    "--approximation-factor",
    type=float,
    setting="rotate_approximation_factor",
    help="Of the new epoch. [default: as it is]",
)
@option("--abort", is_flag=True, help="Give up a rotation that was interrupted.")
@trustee_options
def rotate(
    database: DatabaseSettings,
    collection: str,
    key: KeySource,
    new_master_key_file: str | None,
    search_mode: str | None,
    scaling_factor: float | None,
    approximation_factor: float | None,
    abort: bool,
    trustee: TrusteeSettings,
) -> None:
    """Write every row anew under new keys, and switch to them in one transaction.

    Searches go on meanwhile; documents can be added again when it is done. If it was interrupted,
    the same command goes on. With a Trustee, it gets the new master key and the new anchor.
    """
    if abort:
        _abort(database, collection)
        return
    from crag_core.collection.rotation import Changes
    from crag_owner.anchors import Anchors

    anchors = Anchors(database, collection)
    master, new = _keys(key, new_master_key_file)
    changes = Changes(search_mode, scaling_factor, approximation_factor)
    known = anchors.load()
    with open_store(database, create=False) as store:
        done = _rotated(store, collection, anchors, master, new, changes)
    console().progress_end()
    # Where an ingest went on from there already, its anchor stays.
    anchors.advance(known, lambda: done.snapshot)
    _push(trustee, collection, done, new)
    _show(collection, done, trustee, changed_key=new is not None)


def _keys(key: KeySource, new_file: str | None) -> tuple[MasterKey, MasterKey | None]:
    if new_file is None:
        return key.load(), None
    if new_file == "-" == key.path:
        raise UsageError(
            "Both keys cannot come from standard input.", hint="Name a file for one of them."
        )
    return key.load(), keyfile.load(new_file)


def _rotated(
    store: Store,
    name: str,
    anchors: Anchors,
    master: MasterKey,
    new: MasterKey | None,
    changes: Changes,
) -> Rotated:
    from crag_core.collection import Collection
    from crag_core.collection.rotation import rotate as rotate_collection

    if not Collection.exists(store, name):
        anchors.check_gone()
    try:
        opened = Collection.open(store, name, master)
    except IntegrityViolated as refused:
        # An interrupted rotation to the new key may have switched already.
        if refused.code != "wrong-key" or new is None:
            raise
        master, opened = new, Collection.open(store, name, new)
        if not _only_old_tables_left(store, name):
            raise BadInput(
                f"The collection {name} has the new master key already.",
                hint="Its rotation is done; use the new key from now on.",
            ) from None
    anchors.check(opened)
    return rotate_collection(store, name, master, new_master=new, changes=changes, report=_progress)


def _only_old_tables_left(store: Store, name: str) -> bool:
    with store.reader() as reader:
        stored = reader.collection(name)
        record = None if stored is None else reader.rotation(stored.id)
        return stored is not None and record is not None and record.profile == stored.profile


def _progress(done: int, total: int) -> None:
    console().progress(f"{done} of {total} rows written anew")
    console().event("progress", rows=done, total=total)


def _push(trustee: TrusteeSettings, collection: str, done: Rotated, new: MasterKey | None) -> None:
    """The new anchor for the Trustee, if there is one, and a new key."""
    from crag_core.snapshot import Anchor
    from crag_owner.trustee_push import push_anchor, push_key

    if not trustee.url:
        return
    if new is not None:
        push_key(trustee, collection, new)
    push_anchor(trustee, collection, Anchor.of(done.snapshot))


def _show(collection: str, done: Rotated, trustee: TrusteeSettings, *, changed_key: bool) -> None:
    snapshot, cleared = done.snapshot, done.cleared
    if changed_key and not trustee.url:
        console().warn(
            "readers that have only the old key are refused from now on; run `crag-owner key push "
            "--master-key-file NEW` and start them again."
        )
    if not (cleared.rewritten and cleared.checkpoint):
        console().note(
            "this user of the database may not clear everything that is superseded; an "
            "administrator can: VACUUM FULL of crag.collections, crag.snapshots and "
            "crag.rotations, then CHECKPOINT."
        )
    result = {
        "collection": collection,
        "epoch": done.profile.epoch,
        "search_mode": done.profile.search_mode,
        "scaling_factor": done.profile.scaling_factor,
        "approximation_factor": done.profile.approximation_factor,
        "rows": snapshot.rows,
        "written": done.copied,
        "resumed": done.resumed,
        "check_value": done.profile.check_value,
        "cleared": {"superseded_records": cleared.rewritten, "checkpoint": cleared.checkpoint},
        "snapshot": {
            "id": snapshot.id,
            "sequence": snapshot.sequence,
            "rows": snapshot.rows,
            "root": snapshot.root,
        },
    }
    console().result(
        result,
        f"{collection} is in epoch {done.profile.epoch}: {snapshot.rows} rows under new keys, "
        f"snapshot {snapshot.id}, sequence {snapshot.sequence}\n"
        "The tables of the old epoch are gone. Backups and archived logs of the database still "
        "hold them.",
    )


def _abort(database: DatabaseSettings, collection: str) -> None:
    from crag_core.collection.rotation import abort as abandon

    with open_store(database, create=False) as store:
        given_up = abandon(store, collection)
    console().result(
        {"collection": collection, "aborted": given_up},
        f"The rotation of {collection} was given up; it stays in its epoch."
        if given_up
        else f"No rotation of {collection} was under way.",
    )
