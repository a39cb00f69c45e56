"""Three sentences that a manager understands."""

from __future__ import annotations

from crag_owner.audit.findings import NONE, ROTATION, Finding, Report, best

BROKEN = 0.5
SAFE = 0.05


def sentences(report: Report) -> list[str]:
    """What an attacker gets at the collection's own factor, what stays visible, what to do."""
    return [_attacker(report), _visible(report), _advice(report)]


def _attacker(report: Report) -> str:
    pairs = sorted(
        report.select("known pairs", scheme=ROTATION, factor=report.factor),
        key=lambda finding: (finding.x or 0.0, -finding.value),
    )
    enough = next((finding for finding in pairs if finding.value >= BROKEN), None)
    overlap = _smallest_share(report)
    bare = best(report.select("candidates", scheme=NONE, factor=report.factor))
    parts = []
    if enough is not None:
        parts.append(f"can point at the rows of {int(enough.x or 0)} texts they know")
    if overlap is not None:
        kind = f"{overlap.x:.0%} of your texts" if overlap.x else "other texts of the same kind"
        parts.append(f"hold {kind}")
    without = f" (without the secret rotation: {bare.value:.0%}, at once)" if bare else ""
    if not parts:
        return (
            "In mode `database`, none of the attacks we ran named half of the texts you store; "
            f"that is no proof that none can{without}."
        )
    return (
        "In mode `database`, an attacker who has the embedding model and a list of possible texts "
        f"names most of the ones you store once they {', or once they '.join(parts)}{without}."
    )


def _smallest_share(report: Report) -> Finding | None:
    found = [
        finding
        for finding in report.select("no pairs", scheme=ROTATION, factor=report.factor)
        if finding.value >= BROKEN
    ]
    return min(found, key=lambda finding: finding.x or 0.0, default=None)


def _visible(report: Report) -> str:
    repeated = best(
        report.select("duplicates", factor=report.factor, method="found at 1 % false alarms")
    )
    labels = best(report.select("same label", scheme=ROTATION, factor=report.factor))
    first = f"{repeated.value:.0%}" if repeated else "most"
    second = (
        f", and the most similar row belongs to the same {labels.method.split(',')[0]} in "
        f"{labels.value:.0%} of cases (by chance {labels.chance:.0%})"
        if labels
        else ""
    )
    return (
        "Even without any attack, the database's operator recognises repeated texts "
        f"({first} of them, at one false alarm in a hundred){second}."
    )


def _advice(report: Report) -> str:
    rows = report.sizes.get("rows", {})
    identified = rows.get("identified", 0.0)
    seen = f"sizes alone name {identified:.1%} of the rows" if rows.get("items") else "sizes remain"
    if report.search_mode == "enclave":
        return (
            "Your collection is in mode `enclave`, where none of this applies: vectors are sealed, "
            f"no distances leave the enclave, and {seen}."
        )
    return (
        "If the database's operator is someone you do not trust, use mode `enclave`, where vectors "
        f"are sealed and no distances leave the enclave: there, {seen}."
    )
