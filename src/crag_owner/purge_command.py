"""``crag-owner purge``."""

from __future__ import annotations

from crag_core.command import command, console
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.keyfile import KeySource
from crag_owner.opening import opened
from crag_owner.options import TrusteeSettings, collection_option, key_options, trustee_options


@command("purge")
@database_options
@collection_option
@key_options
@trustee_options
def purge(
    database: DatabaseSettings, collection: str, key: KeySource, trustee: TrusteeSettings
) -> None:
    """Remove the documents whose date is past, with their rows.

    Nothing finds or shows them from that date on; this takes them out of the database. Every ingest
    does the same.
    """
    with opened(database, collection, key) as place:
        documents, rows = place.collection.purge()
        place.anchors.save(place.collection)
        snapshot = place.collection.snapshot()
        if trustee.url:
            from crag_core.snapshot import Anchor
            from crag_owner.trustee_push import push_anchor

            push_anchor(trustee, collection, Anchor.of(snapshot))
    result = {
        "documents": documents,
        "rows": rows,
        "snapshot": {
            "id": snapshot.id,
            "sequence": snapshot.sequence,
            "rows": snapshot.rows,
            "root": snapshot.root,
        },
    }
    console().result(result, f"{documents} expired documents with {rows} rows were removed.")
