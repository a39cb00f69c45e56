"""One forged platform with one GPU, and the verdict on whatever a test makes of them."""

from __future__ import annotations

from functools import cache
from typing import Any

from crag_core.attestation.anchors import Anchors
from crag_core.attestation.offline import verify_recorded
from crag_core.attestation.verdict import Verdict
from support.fake_intel import NOW, FakeIntel
from support.fake_nvidia import FakeNvidia, point


@cache
def intel() -> FakeIntel:
    """The platform."""
    return FakeIntel()


@cache
def nvidia() -> FakeNvidia:
    """The GPU."""
    return FakeNvidia()


@cache
def anchors() -> Anchors:
    """Anchors that trust both."""
    gpu = nvidia()
    return Anchors(intel().root_der, point(gpu.root_key), point(gpu.rim_root_key))


def judge(
    quote: bytes | None = None,
    collateral: dict[str, Any] | None = None,
    at: int = NOW + 60,
    **rest: Any,
) -> Verdict:
    """The verdict under our own anchors; quote and collateral default to good ones."""
    return verify_recorded(
        intel().quote() if quote is None else quote,
        intel().collateral() if collateral is None else collateral,
        at,
        anchors=anchors(),
        **rest,
    )


def failed(verdict: Verdict) -> list[str]:
    """The names of the checks that failed."""
    return [check.name for check in verdict.checks if not check.ok]
