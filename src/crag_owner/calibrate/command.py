"""``crag-owner calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from crag_core.collection.fetching import recorded
from crag_core.command import command, console, option
from crag_core.embedding import open_embedder_for
from crag_core.embedding.options import EmbedderSettings, embedder_options
from crag_core.errors import BadInput
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.keyfile import KeySource
from crag_owner.opening import opened
from crag_owner.options import collection_option, key_options

MOST_ROWS = 100_000
MOST_SAMPLED = 1_000_000
LEAST_ROWS = 32
LEAST_QUESTIONS = 100


@command("calibrate")
@option(
    "--questions-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Real questions, one a line. [default: ask with the collection's own chunks]",
)
@option(
    "--factor",
    "factors",
    type=click.FloatRange(0.0, 16.0),
    multiple=True,
    setting="calibrate_factors",
    metavar="F",
    help="Approximation factor to measure; repeatable. [default: 0.25 to 2.5]",
)
@option(
    "--sample",
    type=click.IntRange(LEAST_ROWS, MOST_SAMPLED),
    default=MOST_ROWS,
    setting="calibrate_sample",
    metavar="ROWS",
    help="Read at most so many rows.",
)
@option(
    "--record",
    is_flag=True,
    help="Record the K' that the collection's own factor needs, for all who search it.",
)
@database_options
@collection_option
@key_options
@embedder_options
def calibrate(
    questions_file: Path | None,
    factors: tuple[float, ...],
    sample: int,
    record: bool,
    database: DatabaseSettings,
    collection: str,
    key: KeySource,
    embedder: EmbedderSettings,
) -> None:
    """Measure noise and recall on your own vectors, and recommend factors.

    For each approximation factor: how the noise compares with the spread of the vectors, and how
    many of the ten nearest passages a search still finds when the database returns K' rows to be
    ranked again without noise.

    With --record, the smallest K' at which recall@10 is 0.99 is kept in the collection: searches of
    the owner, and services from their next start on, fetch so many rows for ten hits.
    """
    import numpy as np

    from crag_owner.calibrate.advice import FACTORS, GOOD_RECALL, advise, own_fetch
    from crag_owner.calibrate.measure import recall, spread
    from crag_owner.calibrate.reading import read_own_rows

    rng = np.random.default_rng(0)
    with opened(database, collection, key) as place:
        own = place.collection
        profile = own.profile

        console().note(f"reading the rows of {collection}")
        rows = read_own_rows(
            place.store,
            own,
            most=sample,
            least=LEAST_ROWS,
            rng=rng,
        )
        if record and len(rows.plain) < rows.total:
            raise BadInput(
                f"Only {len(rows.plain)} of the {rows.total} rows would be measured, and among "
                "more rows a search must fetch more.",
                hint=f"Give --sample {rows.total}, or leave --record out."
                if rows.total <= MOST_SAMPLED
                else "So many cannot be measured at once: give `crag-owner search` and the service "
                "a --fetch with room to spare.",
            )
        questions = None
        if questions_file is not None:
            asked = read_lines(questions_file)
            model = open_embedder_for(own.private, url=embedder.url, api_key=embedder.api_key)
            if record and len(asked) < LEAST_QUESTIONS:
                raise BadInput(
                    f"{len(asked)} questions are too few to record what they need.",
                    hint=f"Give {LEAST_QUESTIONS} or more, or leave --questions-file out.",
                )
            questions = np.stack([model.query(line) for line in asked])
        chosen = sorted({*(factors or FACTORS), profile.approximation_factor})
        measured = recall(rows.plain, questions, chosen, rng)
        asked_with = min(500, len(rows.plain) if questions is None else len(questions))
        enough = own_fetch(measured, profile.approximation_factor)
        if record and enough is not None:
            own.record_fetch(enough, measured_with=profile.approximation_factor)
        fetch = recorded(own.private)
    advice = advise(measured, rows.total)
    result = {
        "collection": collection,
        "search_mode": profile.search_mode,
        "rows": rows.total,
        "measured_rows": len(rows.plain),
        "questions": asked_with,
        "approximation_factor": profile.approximation_factor,
        "scaling_factor": profile.scaling_factor,
        "fetch": fetch,
        "rms_centred_norm": round(spread(rows.plain), 4),
        "factors": [
            {
                "approximation_factor": each.approximation_factor,
                "noise_to_spread": round(each.rho, 4),
                "recall_at_10": {str(fetch): round(value, 4) for fetch, value in each.at.items()},
            }
            for each in measured
        ],
        "recommended": {
            "scaling_factor": advice.scaling_factor,
            "approximation_factor": advice.approximation_factor,
            "fetch": advice.fetch,
            "recall_at_10": round(advice.recall, 4),
            "search_mode": advice.search_mode,
            "reasons": list(advice.reasons),
        },
    }
    console().result(result, lambda: _show(result))
    if record and enough is None:
        raise BadInput(
            f"With approximation factor {profile.approximation_factor:g} no fetch size keeps "
            f"recall@10 at {GOOD_RECALL}, so none was recorded.",
            hint="Rotate to a smaller factor: `crag-owner rotate --approximation-factor`.",
        )


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        BadInput: it cannot be read, is not UTF-8, or has no line.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError):
        raise BadInput(
            f"The file {path} cannot be read as UTF-8 text.", hint="One text a line, in UTF-8."
        ) from None
    found = [line for line in lines if line]
    if not found:
        raise BadInput(f"The file {path} has no text in it.", hint="Put one text on each line.")
    return found


def _show(result: dict[str, Any]) -> None:
    out = console()
    out.line(
        f"{result['measured_rows']} of {result['rows']} rows, {result['questions']} questions; "
        f"RMS centred norm {result['rms_centred_norm']}"
    )
    fetches = list(result["factors"][0]["recall_at_10"])
    rows = []
    for each in result["factors"]:
        factor = each["approximation_factor"]
        mark = " *" if factor == result["approximation_factor"] else ""
        cells = [f"{each['recall_at_10'][fetch]:.3f}" for fetch in fetches]
        rows.append([f"{factor:g}{mark}", f"{each['noise_to_spread']:.2f}", *cells])
    out.table(["factor", "noise/spread", *(f"K'={fetch}" for fetch in fetches)], rows)
    out.line("recall@10 after re-ranking of K' rows; * is the collection's own factor")
    best = result["recommended"]
    out.line(
        f"Recommended: --scaling-factor {best['scaling_factor']:g} --approximation-factor "
        f"{best['approximation_factor']:g} --search-mode {best['search_mode']}"
    )
    out.line(
        f"  and K' = {best['fetch']} for ten hits: `crag-owner search --fetch {best['fetch']}`"
    )
    for reason in best["reasons"]:
        out.line(f"  {reason}")
    if result["fetch"]:
        out.line(f"Recorded in the collection: K' = {result['fetch']} for ten hits")
