"""A debug TD is measured, signed and up to date; only its host can read its memory."""

from __future__ import annotations

import pytest

from crag_core.attestation.policy import Policy, QuotePolicy
from crag_core.errors import AttestationRejected
from support.hardware import failed, intel, judge

PLAIN = 1 << 28


def test_the_same_td_without_the_debug_bit_is_accepted() -> None:
    assert judge(intel().quote(attributes=PLAIN)).verdict == "affirming"


def test_a_debug_td_is_refused_and_named() -> None:
    verdict = judge(intel().quote(attributes=PLAIN | 1))
    assert verdict.verdict == "rejected"
    assert verdict.failure is not None and verdict.failure.name == "debug"
    assert verdict.measurements == {} and verdict.tcb == {}
    with pytest.raises(AttestationRejected, match="debug") as caught:
        verdict.require()
    assert caught.value.exit_code == 10


@pytest.mark.parametrize("bit", range(1, 8))
def test_the_other_bits_that_make_a_td_untrusted_are_refused_too(bit: int) -> None:
    assert "debug" in failed(judge(intel().quote(attributes=PLAIN | 1 << bit)))


def test_no_policy_can_allow_a_debug_td() -> None:
    lax = Policy(
        quote=QuotePolicy(
            tcb_statuses=frozenset({"UpToDate", "OutOfDate", "ConfigurationNeeded"}),
        )
    )
    assert judge(intel().quote(attributes=1), policy=lax).verdict == "rejected"


def test_a_td_that_its_host_may_inject_exceptions_into_is_refused() -> None:
    assert "attributes" in failed(judge(intel().quote(attributes=0)))


def test_a_td_that_may_be_migrated_is_refused() -> None:
    assert "attributes" in failed(judge(intel().quote(attributes=PLAIN | 1 << 29)))
