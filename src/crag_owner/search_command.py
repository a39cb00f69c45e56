"""``crag-owner search``."""

from __future__ import annotations

import click

from crag_core.command import command, console, option
from crag_core.embedding import open_embedder_for
from crag_core.embedding.options import EmbedderSettings, embedder_options
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.ingest.request import parse_labels
from crag_owner.keyfile import KeySource
from crag_owner.opening import opened
from crag_owner.options import collection_option, key_options
from crag_owner.searching import check_question, find_hits, show_hits


@command("search")
@click.argument("question")
@option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Only documents with it.")
@option("-k", "k", type=click.IntRange(1, 100), default=5, setting="search_k", help="Hits wanted.")
@option(
    "--fetch",
    type=click.IntRange(1, 1000),
    setting="search_fetch",
    metavar="K'",
    help="Rows to rank again, as calibrate advises. [default: 20 for each hit, at least 100]",
)
@database_options
@collection_option
@key_options
@embedder_options
def search(
    question: str,
    labels: tuple[str, ...],
    k: int,
    fetch: int | None,
    database: DatabaseSettings,
    collection: str,
    key: KeySource,
    embedder: EmbedderSettings,
) -> None:
    """Find the passages nearest to QUESTION, decrypted here.

    The collection says which embedder it was made with; only a server's address and key are taken
    from the options.
    """
    check_question(question)
    wanted = parse_labels(labels)
    with opened(database, collection, key) as place:
        model = open_embedder_for(
            place.collection.private, url=embedder.url, api_key=embedder.api_key
        )
        found = find_hits(place.collection, model, question, k, wanted, fetch)
    result = {"query": question, "hits": found.hits, "timings_ms": found.timings_ms}
    console().result(result, lambda: show_hits(console(), found))
