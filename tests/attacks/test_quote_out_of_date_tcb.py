"""A genuine platform with known holes: the verifier library accepts it, we don't."""

from __future__ import annotations

from typing import Any

import pytest

from crag_core.attestation.policy import Policy, QuotePolicy
from support.hardware import failed, intel, judge

STALE = [
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
]


def policy(**rules: Any) -> Policy:
    return Policy(quote=QuotePolicy(**rules))


@pytest.mark.parametrize("status", STALE)
def test_an_out_of_date_tcb_is_refused(status: str) -> None:
    assert judge(collateral=intel().collateral()).verdict == "affirming"
    verdict = judge(collateral=intel().collateral(status=status))
    assert verdict.verdict == "rejected"
    # dcap-qvl itself refuses a revoked level; every other one is ours to refuse.
    assert failed(verdict) == (["signature"] if status == "Revoked" else ["tcb"])


@pytest.mark.parametrize("status", STALE[:-1])
def test_a_named_status_is_tolerated(status: str) -> None:
    stale = intel().collateral(status=status)
    allowed = policy(tcb_statuses=frozenset({"UpToDate", status}))
    assert judge(collateral=stale, policy=allowed).verdict == "affirming"


def test_a_revoked_platform_is_refused_even_by_a_policy_that_names_it() -> None:
    stale = intel().collateral(status="Revoked")
    allowed = policy(tcb_statuses=frozenset({"UpToDate", "Revoked"}))
    assert judge(collateral=stale, policy=allowed).verdict == "rejected"


def test_a_tolerated_status_does_not_tolerate_an_advisory() -> None:
    stale = intel().collateral(status="OutOfDate", advisories=("INTEL-SA-01", "INTEL-SA-02"))
    one = policy(tcb_statuses=frozenset({"OutOfDate"}), advisories=frozenset({"INTEL-SA-01"}))
    verdict = judge(collateral=stale, policy=one)
    assert failed(verdict) == ["tcb"]
    assert verdict.failure is not None and "INTEL-SA-02" in verdict.failure.detail
    both = policy(
        tcb_statuses=frozenset({"OutOfDate"}),
        advisories=frozenset({"INTEL-SA-01", "INTEL-SA-02"}),
    )
    assert judge(collateral=stale, policy=both).verdict == "affirming"


def test_an_advisory_refuses_an_up_to_date_platform_too() -> None:
    assert failed(judge(collateral=intel().collateral(advisories=("INTEL-SA-03",)))) == ["tcb"]


def test_old_evaluation_data_is_refused_where_the_policy_wants_newer() -> None:
    old = intel().collateral(evaluation=16)
    assert judge(collateral=old).verdict == "affirming"
    assert failed(judge(collateral=old, policy=policy(minimum_evaluation=17))) == ["collateral"]


def test_a_revoked_pck_certificate_is_refused() -> None:
    assert failed(judge(collateral=intel().collateral(revoked=True))) == ["signature"]
