"""Collateral of another platform family, of another root, or none."""

from __future__ import annotations

from crag_core.attestation.anchors import PINNED
from crag_core.attestation.offline import verify_recorded
from support.fake_intel import NOW, FakeIntel, _key
from support.hardware import failed, intel, judge


def test_collateral_of_another_fmspc_is_refused_and_both_are_named() -> None:
    assert judge(collateral=intel().collateral()).verdict == "affirming"
    verdict = judge(collateral=intel().collateral(fmspc="112233445566"))
    assert failed(verdict) == ["collateral"]
    assert verdict.failure is not None
    assert "112233445566" in verdict.failure.detail and intel().fmspc in verdict.failure.detail


def test_no_collateral_is_a_refusal_not_a_pass() -> None:
    assert failed(judge(collateral={})) == ["collateral"]


def test_collateral_signed_below_another_root_is_refused() -> None:
    other = FakeIntel(root_key=_key("another root"))
    assert failed(judge(collateral=other.collateral())) == ["signature"]


def test_a_quote_below_another_root_is_refused_even_with_its_own_collateral() -> None:
    other = FakeIntel(root_key=_key("another root"))
    assert "quote-format" in failed(judge(other.quote(), other.collateral()))


def test_only_intels_root_is_pinned_by_default() -> None:
    verdict = verify_recorded(intel().quote(), intel().collateral(), NOW + 60)
    assert PINNED.intel_root is None
    assert failed(verdict)[0] == "quote-format" and "signature" in failed(verdict)
