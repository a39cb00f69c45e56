"""One ingest from the opened database to the report."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from crag_core.collection.fetching import FOR_HITS, recorded, rows_for
from crag_core.console import Console
from crag_core.embedding.options import EmbedderSettings
from crag_core.errors import BadInput
from crag_core.snapshot import Anchor
from crag_core.store.interface import Store
from crag_core.store.options import DatabaseSettings, open_store
from crag_owner.files import Corpus, source_prefix
from crag_owner.ingest.pipeline import Pipeline
from crag_owner.ingest.preparing import LocalPreparation, Preparation
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.request import IngestRequest
from crag_owner.ingest.target import Target
from crag_owner.keyfile import KeySource
from crag_owner.options import TrusteeSettings
from crag_owner.parsing.sandbox import ParsingSandbox
from crag_owner.searching import Found, find_hits
from crag_owner.trustee_push import push_anchor

REMOVED_AT_ONCE = 256  # documents of one transaction; a rerun removes the rest


def run(
    request: IngestRequest,
    database: DatabaseSettings,
    key: KeySource,
    embedder: EmbedderSettings,
    trustee: TrusteeSettings,
    console: Console,
) -> tuple[IngestReport, Found | None]:
    """Ingest, remove what vanished, search the trial question, push the anchor.

    Raises:
        BadInput: nothing could be read, or there is no key for an existing collection.
        IntegrityViolated: wrong key, or the collection was rolled back.
        Unreachable: the database, the embedding server or the Trustee does not answer; what was
            committed stays.
    """
    begun = time.monotonic()
    database.where()  # a URL that cannot be read is refused before anything is opened
    corpus = Corpus.of(request.named, request.base)
    with (
        ParsingSandbox(request.parsing) as sandbox,
        _store(database, dry_run=request.dry_run) as store,
    ):
        target = Target(
            database,
            store,
            request.collection,
            key,
            embedder,
            console,
            search_mode=request.search_mode,
            scaling_factor=request.scaling_factor,
            approximation_factor=request.approximation_factor,
            fetch=request.fetch,
            workers=request.workers,
            chunking=request.chunking,
        )
        report = IngestReport(request.collection, target.search_mode, dry_run=request.dry_run)
        pipeline = Pipeline(
            target,
            _preparation(request, embedder, target, sandbox),
            report,
            console,
            request.labels,
            request.expiry,
            dry_run=request.dry_run,
        )
        pipeline.run(corpus)
        _refuse_nothing(report, corpus)
        _warn_of_lost_hits(pipeline)
        for pattern in request.labels.unused(pipeline.sources):
            console.warn(f"no document fits the pattern {pattern!a} of the labels file.")
        if request.sync:
            _remove_vanished(pipeline, request)
        _purge(pipeline)
        found = _finish(target, report, trustee, request.question)
    report.seconds = time.monotonic() - begun
    return report, found


def _preparation(
    request: IngestRequest, embedder: EmbedderSettings, target: Target, sandbox: ParsingSandbox
) -> Preparation:
    # A dry run embeds nothing, which is what a cluster is for.
    if request.runner == "local" or request.dry_run:
        cores = len(os.sched_getaffinity(0))
        return LocalPreparation(target, sandbox, min(request.workers or cores, cores))
    from crag_owner.runner.ray_preparing import RayPreparation

    return RayPreparation(target, embedder, request.parsing, request.workers)


@contextlib.contextmanager
def _store(settings: DatabaseSettings, *, dry_run: bool) -> Iterator[Store | None]:
    """The database; None where a dry run finds nothing of crag in it."""
    with contextlib.ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(settings, create=not dry_run))
        except BadInput:
            # The settings were read before, so only this is left: no schema of crag in there.
            if not dry_run:
                raise
            store = None
        yield store


def _remove_vanished(pipeline: Pipeline, request: IngestRequest) -> None:
    """Remove the documents whose files vanished from the given folders."""
    collection = pipeline.target.collection
    if collection is None:
        return
    gone = list(pipeline.vanished(source_prefix(each, request.base) for each in request.folders))
    for start in range(0, 0 if pipeline.dry_run else len(gone), REMOVED_AT_ONCE):
        part = gone[start : start + REMOVED_AT_ONCE]
        collection.remove_documents([name for name, _ in part])
        pipeline.target.anchors.save(collection)
        for _, source in part:
            pipeline.console.event("document", source=source, status="removed")
    pipeline.report.documents["removed"] += len(gone)


def _purge(pipeline: Pipeline) -> None:
    """Remove the documents whose date is past."""
    collection = pipeline.target.collection
    if collection is None or pipeline.dry_run:
        return
    documents, _ = collection.purge()
    if documents:
        pipeline.target.anchors.save(collection)
        pipeline.console.note(f"{documents} expired documents were removed.")
    pipeline.report.documents["removed"] += documents


def _warn_of_lost_hits(pipeline: Pipeline) -> None:
    """Say so where the collection's factors would cost hits on the vectors just taken in."""
    collection = pipeline.target.collection
    if collection is None or collection.profile.search_mode != "database":
        return
    fetch = rows_for(FOR_HITS, None, recorded(collection.private))
    if len(pipeline.sample) <= fetch:
        return
    import numpy as np

    from crag_owner import calibrate

    profile = collection.profile
    told = calibrate.warning(
        np.stack(pipeline.sample), profile.scaling_factor, profile.approximation_factor, fetch
    )
    if told:
        pipeline.console.warn(told)


def _refuse_nothing(report: IngestReport, corpus: Corpus) -> None:
    if report.readable:
        return
    if not corpus.files:
        raise BadInput(
            "The given folders hold no files.",
            hint="Nothing was changed. Hidden files and folders are left out.",
        )
    raise BadInput(
        f"None of the {corpus.files} files could be read.",
        hint="See the reason of each above; nothing was changed.",
        details={"failures": report.failures},
    )


def _finish(
    target: Target, report: IngestReport, trustee: TrusteeSettings, question: str | None
) -> Found | None:
    """Index, snapshot, trial search and the anchor for the Trustee, once all documents are in."""
    collection = target.collection
    if collection is None:
        return None
    if not report.dry_run:
        collection.ensure_index()
        # A run before this one may have been killed after its commit.
        target.anchors.save(collection)
    snapshot = collection.snapshot()
    report.snapshot = {
        "id": snapshot.id,
        "sequence": snapshot.sequence,
        "rows": snapshot.rows,
        "root": snapshot.root,
    }
    found = None
    if question is not None:
        found = find_hits(collection, target.embedder, question)
        report.search = {"query": question, "hits": found.hits}
    if trustee.url and not report.dry_run:
        push_anchor(trustee, collection.name, Anchor.of(snapshot))
    return found
