"""The result of an audit, for programs and for the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

NONE = "no rotation"
SHUFFLE = "keyed coordinate shuffle"
ROTATION = "secret rotation"
SEALED = "sealed vectors"


@dataclass(frozen=True)
class Finding:
    """One attack's outcome.

    Args:
        attack: which attack; a slug.
        method: how it was done.
        scheme: what hid the vectors: one of the constants of this module.
        factor: approximation factor; None where there is none.
        setting: what the attacker had.
        value: the share that was found, or the score that ``attack`` is measured by; 0 to 1.
        chance: the same for guessing.
        x: the number of known pairs or the share of the owner's texts, where there is a curve.
        seconds: how long it took.
        note: what the attacker saw of their own success, or another remark.
    """

    attack: str
    method: str
    scheme: str
    factor: float | None
    setting: str
    value: float
    chance: float
    x: float | None = None
    seconds: float = 0.0
    note: str = ""


@dataclass
class Report:
    """All findings on one collection."""

    collection: str
    search_mode: str
    factor: float
    rows: int
    attacked: int
    dimension: int
    candidates: int
    rho: float
    findings: list[Finding] = field(default_factory=list)
    sizes: dict[str, dict[str, float]] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def select(
        self,
        attack: str,
        *,
        scheme: str | None = None,
        factor: float | None = None,
        method: str | None = None,
    ) -> list[Finding]:
        """The findings of one attack, optionally of one scheme, factor and method."""
        return [
            finding
            for finding in self.findings
            if finding.attack == attack
            and (scheme is None or finding.scheme == scheme)
            and (factor is None or finding.factor == factor)
            and (method is None or finding.method == method)
        ]

    def factors(self) -> list[float]:
        """The approximation factors that the rotation was attacked at, rising."""
        found = (each.factor for each in self.findings if each.scheme == ROTATION)
        return sorted({factor for factor in found if factor is not None})

    def as_json(self) -> dict[str, Any]:
        """The object of ``audit --json``."""
        result = asdict(self)
        result["approximation_factor"] = result.pop("factor")
        result["noise_to_spread"] = round(result.pop("rho"), 4)
        result["seconds"] = round(self.seconds, 2)
        for finding in result["findings"]:
            finding["value"] = round(finding["value"], 4)
            finding["chance"] = round(finding["chance"], 5)
            finding["seconds"] = round(finding["seconds"], 2)
        return result


def best(findings: Iterable[Finding]) -> Finding | None:
    """The attacker's best, or None where nothing was attacked."""
    return max(findings, key=lambda finding: finding.value, default=None)
