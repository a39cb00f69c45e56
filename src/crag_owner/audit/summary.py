"""The report as a table of a screen's size: the attacker's best for each kind of knowledge."""

from __future__ import annotations

from crag_owner.audit.findings import NONE, ROTATION, SHUFFLE, Finding, Report, best

PAIRS = (8, 16, 64, 192, 1536)


def summary(report: Report) -> tuple[list[str], list[list[str]]]:
    """Heads and rows: one row per attack, one column per approximation factor."""
    factors = report.factors()
    head = ["what the attacker has and does"]
    head += [f"factor {each:g}{' *' if each == report.factor else ''}" for each in factors]
    rows = []

    def add(name: str, find: dict[float, list[Finding]]) -> None:
        cells = []
        for factor in factors:
            found = best(find[factor])
            cells.append("-" if found is None else f"{found.value:.3f}")
        if any(cell != "-" for cell in cells):
            rows.append([name, *cells])

    for scheme in (NONE, SHUFFLE, ROTATION):
        selected = {
            each: report.select("candidates", scheme=scheme, factor=each) for each in factors
        }
        add(f"candidates, {scheme}", selected)
    for count in PAIRS:
        pairs = {
            each: [f for f in report.select("known pairs", factor=each) if f.x == float(count)]
            for each in factors
        }
        add(f"{count} known pairs", pairs)
    for share in sorted({f.x for f in report.select("no pairs") if f.x is not None}, reverse=True):
        blind = {
            each: [f for f in report.select("no pairs", factor=each) if f.x == share]
            for each in factors
        }
        name = f"no pair, {share:.0%} of the texts" if share else "no pair, other texts only"
        add(name, blind)
    for attack in ("duplicates", "distances", "same label"):
        for method in dict.fromkeys(f.method for f in report.select(attack)):
            shown = {each: report.select(attack, factor=each, method=method) for each in factors}
            add(f"{attack}: {method}", shown)
    return head, rows
