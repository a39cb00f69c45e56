"""A quote cut short anywhere, or with something behind it."""

from __future__ import annotations

import pytest

from support.hardware import failed, intel, judge

QUOTE = intel().quote()
# The ends of header, report fields, signature parts, QE report, chain.
ENDS = [0, 1, 2, 47, 48, 184, 520, 568, 631, 632, 635, 636, 700, 764, 770, 1154, 1218, 1220, 1252]


@pytest.mark.parametrize("size", ENDS)
def test_a_truncated_quote_is_refused_at_every_offset_class(size: int) -> None:
    assert judge(QUOTE).verdict == "affirming"
    verdict = judge(QUOTE[:size])
    assert verdict.verdict == "rejected"
    assert verdict.measurements == {}


@pytest.mark.parametrize("missing", [1, 2, *range(97, 2800, 97)])
def test_a_quote_without_its_end_is_refused(missing: int) -> None:
    # counted from the end: the length of the signatures in the chain differs from run to run
    verdict = judge(QUOTE[:-missing])
    assert verdict.verdict == "rejected"
    assert verdict.measurements == {}


def test_zeros_behind_a_quote_are_padding() -> None:
    assert judge(QUOTE + bytes(4096)).verdict == "affirming"


@pytest.mark.parametrize("tail", [b"x", b"\0x", bytes(64) + b"\1"])
def test_anything_else_behind_a_quote_is_refused(tail: bytes) -> None:
    assert failed(judge(QUOTE + tail)) == ["quote-end"]


def test_an_endless_quote_is_refused_before_it_is_verified() -> None:
    assert "quote-format" in failed(judge(QUOTE + bytes(1 << 20)))
