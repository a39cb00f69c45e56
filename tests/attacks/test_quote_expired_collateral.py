"""Old collateral hides what Intel has said since."""

from __future__ import annotations

from crag_core.attestation.policy import DAY, Policy, QuotePolicy
from support import vectors
from support.fake_intel import NOW
from support.hardware import failed, intel, judge


def test_expired_collateral_is_refused_from_its_first_second() -> None:
    issued = intel().collateral()
    assert judge(collateral=issued, at=NOW + 30 * DAY - 1).verdict == "affirming"
    verdict = judge(collateral=issued, at=NOW + 30 * DAY + 1)
    assert failed(verdict) == ["collateral"]
    assert verdict.failure is not None and "expired" in verdict.failure.detail


def test_collateral_that_is_not_issued_yet_is_refused() -> None:
    assert failed(judge(at=NOW - 1)) == ["collateral"]


def test_the_policy_can_want_newer_collateral_than_intel_does() -> None:
    strict = Policy(quote=QuotePolicy(max_collateral_age=2 * DAY))
    assert judge(at=NOW + 2 * DAY, policy=strict).verdict == "affirming"
    verdict = judge(at=NOW + 2 * DAY + 1, policy=strict)
    assert failed(verdict) == ["collateral"]
    assert verdict.failure is not None and "2 days old" in verdict.failure.detail


def test_an_absurd_time_is_refused() -> None:
    for at in (-1, 1 << 40, 1 << 70):
        assert failed(judge(at=at)) == ["collateral"]


def test_changing_the_dates_breaks_intels_signature() -> None:
    forged = intel().collateral()
    later = forged["tcb_info"].replace('"nextUpdate":"2026', '"nextUpdate":"2036')
    assert later != forged["tcb_info"]
    forged["tcb_info"] = later
    assert failed(judge(collateral=forged)) == ["signature"]


@vectors.needed
def test_recorded_collateral_of_2023_says_that_it_has_expired() -> None:
    from crag_core.attestation.offline import verify_recorded

    verdict = verify_recorded(
        vectors.data("tdx/tdx_prod_quote_SPR_E4.dat"),
        vectors.collateral("gtg_50806f000000_2023"),
        1689811200,
    )
    assert verdict.failure is not None and verdict.failure.name == "collateral"
    assert "expired" in verdict.failure.detail
