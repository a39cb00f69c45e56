"""``crag-owner audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crag_core.command import command, console, option
from crag_core.config import home, write_private
from crag_core.embedding import open_embedder_for
from crag_core.embedding.options import EmbedderSettings, embedder_options
from crag_core.errors import BadInput
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.keyfile import KeySource
from crag_owner.opening import opened
from crag_owner.options import collection_option, key_options

if TYPE_CHECKING:
    from crag_owner.audit.findings import Report


@command("audit")
@option(
    "--page",
    type=click.Path(dir_okay=False, path_type=Path),
    setting="audit_page",
    metavar="FILE",
    help="Where the HTML page goes. [default: audit/<collection>.html in crag's folder]",
)
@option(
    "--foreign-texts",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Texts that an attacker would try and that are not yours, one a line.",
)
@option(
    "--factor",
    "factors",
    type=click.FloatRange(0.0, 16.0),
    multiple=True,
    setting="audit_factors",
    metavar="F",
    help="Approximation factor to attack beside the collection's own; repeatable. "
    "[default: 0.5, 1, 2]",
)
@option(
    "--sample",
    type=click.IntRange(32, 5000),
    default=1200,
    setting="audit_sample",
    metavar="ROWS",
    help="Attack at most so many rows.",
)
@option("--seed", type=int, default=0, setting="audit_seed", help="Of the attacker's choices.")
@database_options
@collection_option
@key_options
@embedder_options
def audit(
    page: Path | None,
    foreign_texts: Path | None,
    factors: tuple[float, ...],
    sample: int,
    seed: int,
    database: DatabaseSettings,
    collection: str,
    key: KeySource,
    embedder: EmbedderSettings,
) -> None:
    """Attack your own collection and report what an attacker would learn.

    Runs real attacks on the stored vectors, here, with the key only to score them. The page, the
    table and --json hold figures, no texts. It takes a few minutes.
    """
    import numpy as np

    from crag_owner.audit.page import page as as_page
    from crag_owner.audit.plan import FACTORS, MIN_ROWS, run
    from crag_owner.audit.schemes import fresh, new_rows
    from crag_owner.audit.subject import Subject
    from crag_owner.calibrate.command import read_lines
    from crag_owner.calibrate.reading import read_own_rows

    with opened(database, collection, key) as place:
        own = place.collection
        profile = own.profile

        console().note(f"reading the rows of {collection}")
        rows = read_own_rows(
            place.store,
            own,
            most=sample,
            least=MIN_ROWS,
            rng=np.random.default_rng(seed),
        )
        foreign = None
        if foreign_texts is not None:
            texts = read_lines(foreign_texts)
            model = open_embedder_for(own.private, url=embedder.url, api_key=embedder.api_key)
            foreign = model.passages(texts)
        factor = profile.approximation_factor
        encrypt, stored = new_rows(own.cipher), rows.stored
        if stored is None:
            encrypt = fresh(profile.dimension, factor)
            stored = encrypt(rows.plain)
        else:
            stored /= np.float32(profile.scaling_factor)
    subject = Subject(
        name=collection,
        search_mode=profile.search_mode,
        factor=factor,
        total_rows=rows.total,
        plain=rows.plain,
        stored=stored,
        encrypt=encrypt,
        labels=rows.labels,
        foreign=foreign,
        row_sizes=rows.row_sizes,
        document_sizes=rows.document_sizes,
    )
    report = run(subject, factors=factors or FACTORS, seed=seed, progress=_progress)
    console().progress_end()
    target = page or home() / "audit" / f"{collection}.html"
    _write(target, as_page(report), private=page is None)
    result = {**report.as_json(), "page": str(target)}
    console().result(result, lambda: _show(report, target))


def _progress(step: str) -> None:
    console().progress(step)
    console().event("progress", step=step)


def _write(target: Path, text: str, *, private: bool) -> None:
    try:
        if private:
            write_private(target, text.encode("utf-8"))
        else:
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(
            f"The page {target} cannot be written: {error.strerror}.",
            hint="Name another file with --page.",
        ) from error


def _show(report: Report, target: Path) -> None:
    from crag_owner.audit.summary import summary

    out = console()
    for sentence in report.sentences:
        out.line(sentence)
    out.line()
    head, rows = summary(report)
    out.table(head, rows)
    out.line()
    out.line(f"All {len(report.findings)} results with plots: {target}")
