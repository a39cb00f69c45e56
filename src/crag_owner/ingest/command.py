"""``crag-owner ingest``."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from crag_core.command import command, console, option
from crag_core.embedding.options import EmbedderSettings, embedder_options
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.ingest.expiry import parse_expiry
from crag_owner.ingest.labels_file import Labels, read_labels
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.request import ChunkingChoice, IngestRequest, parse_labels
from crag_owner.keyfile import KeySource
from crag_owner.options import (
    TrusteeSettings,
    collection_option,
    key_options,
    trustee_options,
)
from crag_owner.searching import Found, show_hits

_PATH = click.Path(path_type=Path)


@command("ingest")
@click.argument("paths", nargs=-1, type=_PATH, metavar="[PATH]...")
@option(
    "-D",
    "--dir",
    "directories",
    multiple=True,
    type=_PATH,
    metavar="DIR",
    setting="ingest_dir",
    help="Folder of documents; may be given more than once.",
)
@option("-t", "--test", "question", metavar="QUESTION", help="Search this afterwards, show hits.")
@option("--base", type=_PATH, metavar="DIR", help="Folder from which documents are named.")
@database_options
@collection_option
@option(
    "--search-mode",
    type=click.Choice(["database", "enclave"]),
    help="Of a new collection: who compares vectors. [default: database]",
)
@option("--scaling-factor", type=float, help="Of a new collection. [default: 1.0]")
@option("--approximation-factor", type=float, help="Of a new collection. [default: 1.0]")
@option(
    "--fetch",
    type=click.IntRange(10, 1000),
    setting="ingest_fetch",
    metavar="K'",
    help="Of a new collection: rows that a search ranks again for ten hits. [default: 200]",
)
@option("--chunk-size", type=int, metavar="TOKENS", help="Of a new collection. [default: 220]")
@option("--chunk-overlap", type=int, metavar="TOKENS", help="Of a new collection. [default: 30]")
@option(
    "--chunk-strategy",
    type=click.Choice(["recursive", "sentence", "fixed"]),
    help="Of a new collection: where documents are cut. [default: recursive]",
)
@option("--parse-seconds", type=float, default=120.0, help="Longest that a file is parsed.")
@option(
    "--parse-memory", type=int, default=1024, metavar="MIB", help="Most that parsing one takes."
)
@key_options
@embedder_options
@option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Attached to each document.")
@option(
    "--labels-file",
    type=_PATH,
    metavar="FILE",
    help="JSON of patterns of sources with the labels of what fits.",
)
@option(
    "--expires",
    metavar="WHEN",
    help="Date (2027-01-31), or time from taking in (12h, 90d, 8w), after which documents are not "
    "found any more and are removed; or never.",
)
@option("--sync", is_flag=True, help="Remove documents whose files vanished from the folders.")
@option("--workers", type=click.IntRange(1, 256), help="Threads or requests that embed at once.")
@option(
    "--runner",
    type=click.Choice(["local", "ray"]),
    default="local",
    help="Where files are parsed and embedded: here, or on a Ray cluster. [default: local]",
)
@option("--dry-run", is_flag=True, help="Read and cut the files; write nothing.")
@trustee_options
def ingest(
    paths: tuple[Path, ...],
    directories: tuple[Path, ...],
    question: str | None,
    base: Path | None,
    database: DatabaseSettings,
    collection: str,
    search_mode: str | None,
    scaling_factor: float | None,
    approximation_factor: float | None,
    fetch: int | None,
    chunk_size: int | None,
    chunk_overlap: int | None,
    chunk_strategy: str | None,
    parse_seconds: float,
    parse_memory: int,
    key: KeySource,
    embedder: EmbedderSettings,
    labels: tuple[str, ...],
    labels_file: Path | None,
    expires: str | None,
    sync: bool,
    workers: int | None,
    runner: str,
    dry_run: bool,
    trustee: TrusteeSettings,
) -> None:
    """Read, embed and encrypt documents here, and store only ciphertext in the database.

    Files that did not change since the last run are left as they are; a run that was interrupted
    goes on where it stopped. A file that cannot be read is reported and left out.
    """
    request = IngestRequest(
        named=[*paths, *directories],
        base=base,
        question=question,
        labels=Labels(parse_labels(labels), read_labels(labels_file) if labels_file else ()),
        expiry=parse_expiry(expires, int(time.time())),
        collection=collection,
        search_mode=search_mode,
        scaling_factor=scaling_factor,
        approximation_factor=approximation_factor,
        fetch=fetch,
        workers=workers,
        sync=sync,
        dry_run=dry_run,
        chunking=ChunkingChoice(chunk_size, chunk_overlap, chunk_strategy),
        parse_seconds=parse_seconds,
        parse_memory=parse_memory,
        runner=runner,
    )
    request.check()
    # Between products of a few rows the idle threads of a pool would spin: twice the CPU time.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Chunking, numbers and the database driver are imported only when there is work to do.
    from crag_owner.ingest.running import run

    report, found = run(request, database, key, embedder, trustee, console())
    console().result(report.as_json(), lambda: _show(report, found))


def _show(report: IngestReport, found: Found | None) -> None:
    report.show(console())
    if found is not None:
        console().line()
        show_hits(console(), found)
