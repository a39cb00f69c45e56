"""Simple tokens of Trustee 1.5: accepted below the pinned authority, or refused by name."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.attestation.simple_token import SimpleToken, verify_simple
from crag_core.errors import AttestationRejected
from support import trustee_claims
from support.ear_tokens import NOW, Authority
from support.ear_tokens import claims as ear_claims

TRUSTEE = Authority("RS384")
STRANGER = Authority("RS384")


def claims(**changes: Any) -> dict[str, Any]:
    """An affirming token's claims at NOW, as token/simple.rs makes them."""
    made = trustee_claims.simple_token(trustee_claims.simple())
    made["customized_claims"]["runtime_data"] = {"nonce": "n", "tee-pubkey": {}}
    return {**made, "iat": NOW, "nbf": NOW, "exp": NOW + 300, "jti": "0123456789", **changes}


def verified(token: str, policy: str | None = "default") -> SimpleToken:
    return verify_simple(token, anchor_pem=TRUSTEE.pem, policy_id=policy, now=NOW + 1)


def refused(token: str, *rules: str, policy: str | None = "default") -> None:
    with pytest.raises(AttestationRejected) as caught:
        verified(token, policy)
    assert caught.value.details["rule"] in rules


def test_a_genuine_token_is_accepted_with_what_it_says() -> None:
    found = verified(TRUSTEE.token(claims()))
    assert (found.tee, found.policy_id, found.insecure) == ("tdx", "default", False)
    assert found.runtime_data == {"nonce": "n", "tee-pubkey": {}}
    assert found.measurements["quote.body.mr_td"] == trustee_claims.body()["mr_td"]
    assert "report_data" not in found.measurements
    assert found.issuer == "CoCo-Attestation-Service"
    verdict = found.verdict().as_json()
    assert verdict["verdict"] == "affirming"
    assert verdict["token"]["expires"] == NOW + 300


def test_software_made_evidence_is_marked() -> None:
    status = json.dumps({"sample.svn": "1", "report_data": "AA=="})
    assert verified(TRUSTEE.token(claims(tee="sample", **{"tcb-status": status}))).insecure


def test_the_key_that_the_token_brings_proves_nothing() -> None:
    header = STRANGER.header()
    refused(STRANGER.token(claims()), "path")
    del header["jwk"]["x5c"]
    refused(STRANGER.token(claims(), header), "certificate")


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"exp": NOW - 61}, "time"),
        ({"exp": None}, "time"),
        ({"nbf": NOW + 3600}, "time"),
        ({"eat_profile": "x"}, "profile"),
        ({"submods": {}}, "profile"),
        ({"evaluation-reports": None}, "profile"),
        ({"evaluation-reports": []}, "policy"),
        ({"evaluation-reports": [7]}, "policy"),
        ({"evaluation-reports": [{"policy-id": "other"}]}, "policy"),
        ({"evaluation-reports": [{"policy-id": "default"}] * 2}, "policy"),
        ({"tee": "none"}, "evidence"),
        ({"tee": "snp"}, "evidence"),
        ({"tee": None}, "evidence"),
        ({"tcb-status": {}}, "evidence"),
        ({"tcb-status": "["}, "evidence"),
        ({"tcb-status": "[" * 100_000}, "evidence"),
        ({"tcb-status": "[]"}, "evidence"),
        ({"tcb-status": json.dumps({"sample.svn": "1", "tdx.quote.x": "y"})}, "evidence"),
        ({"customized_claims": {"runtime_data": None}}, "evidence"),
        ({"customized_claims": {"runtime_data": {}}}, "evidence"),
        ({"customized_claims": None}, "evidence"),
    ],
)
def test_a_rule_that_is_broken_is_named(changes: dict[str, Any], rule: str) -> None:
    refused(TRUSTEE.token(claims(**changes)), rule)


def test_an_ear_token_is_no_simple_token_and_the_other_way_round() -> None:
    from crag_core.attestation.ear import verify_ear

    refused(TRUSTEE.token(ear_claims()), "profile")
    with pytest.raises(AttestationRejected) as caught:
        verify_ear(TRUSTEE.token(claims()), anchor_pem=TRUSTEE.pem, policy_id=None, now=NOW)
    assert caught.value.details["rule"] == "profile"


def test_any_single_policy_is_taken_where_none_is_wanted() -> None:
    other = claims(**{"evaluation-reports": [{"policy-id": "other", "policy-hash": "00"}]})
    assert verified(TRUSTEE.token(other), None).policy_id == "other"


@given(
    name=st.sampled_from(sorted(claims())),
    value=st.none() | st.integers() | st.text() | st.lists(st.integers()),
)
def test_whatever_is_signed_is_judged_or_refused(name: str, value: Any) -> None:
    token = TRUSTEE.token(claims(**{name: value}))
    with contextlib.suppress(AttestationRejected):
        assert verified(token).verdict().as_json()["verdict"] == "affirming"
