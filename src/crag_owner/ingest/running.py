"""One ingest from the opened database to the report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from crag_core.console import Console
from crag_core.embedding.options import EmbedderSettings
from crag_core.errors import BadInput
from crag_core.snapshot import Anchor
from crag_core.store.interface import Store
from crag_core.store.options import DatabaseSettings, open_store
from crag_owner.files import Candidate, find, source_name
from crag_owner.ingest.pipeline import Pipeline, vanished
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.request import IngestRequest
from crag_owner.ingest.target import Target
from crag_owner.keyfile import KeySource
from crag_owner.options import TrusteeSettings
from crag_owner.parsing.sandbox import ParsingSandbox
from crag_owner.searching import Found, find_hits
from crag_owner.trustee_push import push_anchor

FETCH = 200  # what a search for ten hits fetches (crag_core.collection.search.candidates)


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
    candidates = list(find(request.named, request.base))
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
            workers=request.workers,
            chunking=request.chunking,
        )
        report = IngestReport(request.collection, target.search_mode, dry_run=request.dry_run)
        pipeline = _pipeline(request, embedder)(
            target,
            sandbox,
            report,
            console,
            request.labels,
            request.expiry,
            dry_run=request.dry_run,
        )
        pipeline.run(candidates)
        _refuse_nothing(report, candidates)
        _warn_of_lost_hits(pipeline)
        for pattern in request.labels.unused(sorted(pipeline.sources)):
            console.warn(f"no document fits the pattern {pattern!a} of the labels file.")
        if request.sync:
            _remove_vanished(pipeline, request)
        _purge(pipeline)
        found = _finish(target, report, trustee, request.question)
    report.seconds = time.monotonic() - begun
    return report, found


def _pipeline(request: IngestRequest, embedder: EmbedderSettings) -> Callable[..., Pipeline]:
    if request.runner == "local":
        return Pipeline
    from crag_owner.runner.ray_pipeline import RayPipeline

    return partial(RayPipeline, embedder=embedder, parsing=request.parsing, workers=request.workers)


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
    prefixes = [
        "" if source == "." else source
        for source in (source_name(folder, folder, request.base) for folder in request.folders)
    ]
    gone = vanished(collection, prefixes, pipeline.sources)
    if gone and not pipeline.dry_run:
        collection.remove_documents(gone)
        pipeline.target.anchors.save(collection)
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
    if len(pipeline.sample) <= FETCH:
        return
    import numpy as np

    from crag_owner import calibrate

    profile = collection.profile
    told = calibrate.warning(
        np.stack(pipeline.sample), profile.scaling_factor, profile.approximation_factor, FETCH
    )
    if told:
        pipeline.console.warn(told)


def _refuse_nothing(report: IngestReport, candidates: Sequence[Candidate]) -> None:
    if report.readable:
        return
    if not candidates:
        raise BadInput(
            "The given folders hold no files.",
            hint="Nothing was changed. Hidden files and folders are left out.",
        )
    raise BadInput(
        f"None of the {len(candidates)} files could be read.",
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
