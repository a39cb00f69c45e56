"""The report as one HTML file that loads nothing from anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from crag_owner.audit.findings import NONE, ROTATION, SHUFFLE, Finding, Report, best
from crag_owner.audit.svg import Series, lines, style

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2530;--soft:#5c6875;--line:#d8dee5;--paper:#fff;
--mark:#f4f7fa}
@media(prefers-color-scheme:dark){:root{--ink:#e4e9ef;--soft:#9aa7b4;--line:#35404c;
--paper:#161c23;--mark:#1f2731}}
body{margin:0 auto;max-width:56rem;padding:2rem 1.2rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.55 system-ui,sans-serif}
h1{font-size:1.6rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2.2rem}
.soft{color:var(--soft)}
.say{background:var(--mark);border-left:4px solid #2f6fb4;padding:.8rem 1.1rem;margin:1.2rem 0}
.say p{margin:.5rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.3rem .6rem .3rem 0;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin-bottom:0}summary{cursor:pointer}
.wide,figure{overflow-x:auto}figure{margin:1rem 0}svg{width:100%;min-width:30rem;height:auto}
th{vertical-align:bottom}td{vertical-align:top}
"""

_PROSE_ROTATION = (
    "The share of rows whose text an attacker names who has a list of candidate texts, the "
    "embedding model, and nothing else. Without a rotation, noise hides nothing; a keyed "
    "coordinate shuffle is undone from the statistics of other texts. crag stores neither."
)
_PROSE_PAIRS = (
    "A pair is a text whose row the attacker can point at: one they had ingested, a public "
    "document, a lucky guess. “Pairs and candidates” also has a list in which the other texts "
    "occur."
)
_PROSE_BLIND = (
    "The attacker has a share of the owner's texts without knowing which row is which; at 0, only "
    "other texts of the same collection. A failed attack is no proof: among tens of thousands of "
    "rows, other texts of the same kind are enough."
)
_PROSE_DISTANCES = (
    "The database searches by distances, so no key protects them: repeated texts, the closest "
    "relatives of a row, its topic."
)
_PROSE_SIZES = (
    "Vectors are sealed, so no distance shows. Sizes do, in steps of 256 bytes, and the database "
    "knows which rows were written together."
)
_PROSE_LIMITS = (
    "Every figure is a lower bound: an attacker with more time, more texts or a better idea gets "
    "more. The attacks had minutes on one machine; nobody tried to write texts back from vectors "
    "with a trained inverter. Attackers choose among their attempts by what they see themselves, "
    "never by the truth."
)


def page(report: Report) -> str:
    """The whole page; everything that comes from the collection is escaped."""
    said = "".join(f"<p>{escape(sentence)}</p>" for sentence in report.sentences)
    body = "".join(
        (
            f"<h1>What an attacker learns from “{escape(report.collection)}”</h1>",
            _subtitle(report),
            f'<div class="say">{said}</div>',
            _schemes(report),
            _pairs(report),
            _blind(report),
            _distances(report),
            _sizes(report),
            _headed("What this does not say", _PROSE_LIMITS),
            _everything(report),
        )
    )
    title = f"Leakage of {report.collection}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}{style()}</style></head><body>{body}</body></html>\n"
    )


def _subtitle(report: Report) -> str:
    return (
        f'<p class="soft">Search mode {escape(report.search_mode)}, approximation factor '
        f"{report.factor:g} (noise {report.rho:.2f} times the spread of the vectors). Attacked "
        f"{report.attacked} of {report.rows} rows in {report.dimension} dimensions, among "
        f"{report.candidates} candidate texts, in {report.seconds:.0f} s.</p>"
    )


def _headed(title: str, prose: str) -> str:
    return f"<h2>{escape(title)}</h2><p>{escape(prose)}</p>"


def _schemes(report: Report) -> str:
    series = [
        Series(scheme, _curve(report.select("candidates", scheme=scheme)))
        for scheme in (NONE, SHUFFLE, ROTATION)
    ]
    return _headed("What the secret rotation is for", _PROSE_ROTATION) + _figure(
        series, "Re-identification by scheme", "approximation factor", "rows named"
    )


def _curve(findings: Sequence[Finding]) -> list[tuple[float, float]]:
    """The attacker's best for each factor."""
    factors = sorted({each.factor for each in findings if each.factor is not None})
    chosen = [best(each for each in findings if each.factor == factor) for factor in factors]
    return [(each.factor or 0.0, each.value) for each in chosen if each is not None]


def _pairs(report: Report) -> str:
    plots = []
    for factor in report.factors():
        found = report.select("known pairs", factor=factor)
        methods = dict.fromkeys(finding.method for finding in found)
        series = [
            Series(method, [(each.x or 1.0, each.value) for each in found if each.method == method])
            for method in methods
        ]
        own = ", this collection's" if factor == report.factor else ""
        plots.append(
            f"<h3>Approximation factor {factor:g}{own}</h3>"
            + _figure(
                series,
                f"Known pairs at approximation factor {factor:g}",
                "known pairs",
                "other rows named",
                logarithmic=True,
            )
        )
    return _headed("An attacker who knows some of the texts", _PROSE_PAIRS) + "".join(plots)


def _blind(report: Report) -> str:
    series = [
        Series(
            f"factor {factor:g}",
            sorted(
                (each.x or 0.0, each.value) for each in report.select("no pairs", factor=factor)
            ),
        )
        for factor in report.factors()
    ]
    return _headed("An attacker without any known pair", _PROSE_BLIND) + _figure(
        series, "No known pairs", "share of the owner's texts", "rows named"
    )


def _distances(report: Report) -> str:
    kinds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for attack in ("duplicates", "distances", "same label"):
        for each in report.select(attack):
            kinds.setdefault((attack, each.method), []).append((each.factor or 0.0, each.value))
    names = {"duplicates": "repeats", "distances": "distances", "same label": "neighbour"}
    series = [
        Series(_shortened(f"{names[attack]}: {method}"), sorted(points))
        for (attack, method), points in kinds.items()
    ]
    return _headed("What shows without any attack", _PROSE_DISTANCES) + _figure(
        series, "Leaks of distances", "approximation factor", "score"
    )


def _shortened(text: str) -> str:
    return text if len(text) <= 28 else text[:27] + "…"


def _sizes(report: Report) -> str:
    rows = [
        (
            what,
            f"{found['items']:.0f}",
            f"{found['distinct']:.0f}",
            f"{found['entropy']:.2f}",
            f"{found['identified']:.3f}",
            f"{found['alone']:.3f}",
        )
        for what, found in report.sizes.items()
    ]
    access = [
        "<p>crag's enclave holds all rows in memory, so the database sees no question. One that "
        "fetched the rows of its hits would show much: two rows read for one question have the "
        f"same {escape(each.method.split(',')[0])} in {each.value:.0%} of cases (by chance "
        f"{each.chance:.0%}).</p>"
        for each in report.select("access")
    ]
    return (
        _headed("What is left in mode enclave", _PROSE_SIZES)
        + _table(
            ("", "items", "sizes", "bits", "named by size alone", "the only one of its size"), rows
        )
        + "".join(access)
    )


def _everything(report: Report) -> str:
    rows = [
        (
            each.attack,
            each.method,
            each.scheme,
            "" if each.factor is None else f"{each.factor:g}",
            each.setting,
            f"{each.value:.3f}",
            f"{each.chance:.4f}",
            each.note,
        )
        for each in report.findings
    ]
    head = ("attack", "method", "scheme", "factor", "the attacker has", "value", "chance", "")
    return f"<h2>All figures</h2><details><summary>{len(rows)} results</summary>" + (
        _table(head, rows) + "</details>"
    )


def _figure(
    series: Iterable[Series], title: str, x_label: str, y_label: str, *, logarithmic: bool = False
) -> str:
    drawn = lines(
        list(series), title=title, x_label=x_label, y_label=y_label, logarithmic=logarithmic
    )
    return f"<figure>{drawn}</figure>" if drawn else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines_ = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{lines_}</tbody></table>"
    return f'<div class="wide">{table}</div>'
