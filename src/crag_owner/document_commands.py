"""``crag-owner list``, ``show``, ``delete`` and ``stats``."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crag_core.command import command, console
from crag_core.errors import BadInput
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.display import is_unicode, path_name, printable
from crag_owner.keyfile import KeySource
from crag_owner.opening import opened
from crag_owner.options import (
    TrusteeSettings,
    collection_option,
    key_options,
    trustee_options,
)

if TYPE_CHECKING:
    from crag_core.collection import Collection, DocumentInfo


def _as_json(document: DocumentInfo) -> dict[str, Any]:
    return {
        "id": document.id,
        "source": document.source,
        "chunks": document.chunks,
        "labels": dict(document.labels),
        "added": document.added,
        "expires": document.expires,
    }


def _minute(moment: str) -> str:
    """``2026-11-21T05:12:03Z`` for a person."""
    return moment[:16].replace("T", " ")


def _expiry(document: DocumentInfo) -> str:
    """The date as it stands in ``document``, which has one."""
    moment = datetime.fromtimestamp(document.expires or 0, UTC)
    return f"{'expired' if document.expired() else 'expires'} {_minute(moment.isoformat())}"


def _lookup(collection: Collection, wanted: tuple[str, ...]) -> list[DocumentInfo]:
    """The documents with these ids or sources, each once, in the order given.

    Raises:
        BadInput: one of them is not there.
    """
    found: dict[str, DocumentInfo] = {}
    by_id: dict[str, DocumentInfo] | None = None
    for name in wanted:
        document = collection.find(name) if is_unicode(name) else None
        if document is None and _is_uuid(name):
            if by_id is None:
                by_id = {each.id: each for each in collection.documents()}
            document = by_id.get(str(uuid.UUID(name)))
        if document is None:
            raise BadInput(
                f"There is no document {path_name(Path(name))} in {collection.name}.",
                hint="`crag-owner list` shows ids and sources. Nothing was changed.",
            )
        found[document.id] = document
    return list(found.values())


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


@command("list")
@database_options
@collection_option
@key_options
def list_documents(database: DatabaseSettings, collection: str, key: KeySource) -> None:
    """List the documents of the collection, by source."""
    with opened(database, collection, key) as place:
        documents = sorted(place.collection.documents(), key=lambda document: document.source)

    def human() -> None:
        # Not a table: that would shorten ids and sources, which the next command needs whole.
        for each in documents:
            labels = "".join(f"  {name}={value}" for name, value in each.labels.items())
            line = f"{each.id}  {_minute(each.added)}  {each.chunks:>5}  {each.source}{labels}"
            if each.expires is not None:
                line += f"  {_expiry(each)}"
            console().line(printable(line))

    console().result({"documents": [_as_json(each) for each in documents]}, human)


@command("show")
@click.argument("document", metavar="DOC")
@database_options
@collection_option
@key_options
def show(document: str, database: DatabaseSettings, collection: str, key: KeySource) -> None:
    """Show the chunks of DOC (an id or a source), decrypted here."""
    with opened(database, collection, key) as place:
        (found,) = _lookup(place.collection, (document,))
        chunks = [
            {
                "chunk_id": chunk.chunk_id,
                "index": chunk.index,
                "text": chunk.text,
                "page": chunk.page,
                "heading": chunk.heading,
            }
            for chunk in place.collection.chunks_of(found)
        ]

    def human() -> None:
        console().line(f"{printable(found.source)}  {found.id}  added {_minute(found.added)}")
        for chunk in chunks:
            heading = f"  {chunk['heading']}" if chunk["heading"] else ""
            console().line(f"\n[{chunk['index']}] {chunk['chunk_id']}{printable(heading)}")
            console().line(printable(str(chunk["text"])))

    console().result({"document": _as_json(found), "chunks": chunks}, human)


@command("delete")
@click.argument("documents", nargs=-1, required=True, metavar="DOC...")
@database_options
@collection_option
@key_options
@trustee_options
def delete(
    documents: tuple[str, ...],
    database: DatabaseSettings,
    collection: str,
    key: KeySource,
    trustee: TrusteeSettings,
) -> None:
    """Delete each DOC (an id or a source) with all its rows.

    If one of them is unknown, none is deleted.
    """
    with opened(database, collection, key) as place:
        found = _lookup(place.collection, documents)
        rows = place.collection.remove_documents([each.id for each in found])
        place.anchors.save(place.collection)
        snapshot = place.collection.snapshot()
        if trustee.url:
            from crag_core.snapshot import Anchor
            from crag_owner.trustee_push import push_anchor

            push_anchor(trustee, collection, Anchor.of(snapshot))
    result = {
        "removed": [{"id": each.id, "source": each.source} for each in found],
        "rows": rows,
        "snapshot": {
            "id": snapshot.id,
            "sequence": snapshot.sequence,
            "rows": snapshot.rows,
            "root": snapshot.root,
        },
    }
    console().result(result, f"{len(found)} documents with {rows} rows were deleted.")


@command("stats")
@database_options
@collection_option
@key_options
def stats(database: DatabaseSettings, collection: str, key: KeySource) -> None:
    """Count documents, rows and bytes, and show the collection's parameters."""
    with opened(database, collection, key) as place:
        numbers = place.collection.stats()

    def human() -> None:
        console().table(["", "value"], [[name, value] for name, value in numbers.items()])

    console().result(numbers, human)
