"""Fuzz quotes: structure, Intel's verifier, our policy. None but the seeds may be accepted."""

from __future__ import annotations

from fuzz.harness import main
from support.hardware import intel, judge

COLLATERAL = intel().collateral()
SEEDS = (intel().quote(), intel().quote(version=5))


def target(data: bytes) -> None:
    """A verdict, and a rejection unless it is a seed."""
    verdict = judge(data, COLLATERAL)
    verdict.as_json()
    if verdict.verdict == "affirming" and data.rstrip(b"\0") not in KNOWN:
        raise AssertionError("a quote that nobody signed was accepted")


KNOWN = {seed.rstrip(b"\0") for seed in SEEDS}

if __name__ == "__main__":
    main(target, SEEDS)
