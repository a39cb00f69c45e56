"""Policies are read strictly: what nobody understands is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.attestation.policy import DAY, FORMAT, Policy, RequiredEvent, parse_policy
from crag_core.errors import BadInput, CragError


def policy(**members: Any) -> Policy:
    return parse_policy(json.dumps({"format": FORMAT, "id": "test", **members}))


def test_an_empty_policy_is_the_defaults_under_its_own_name() -> None:
    found = policy()
    assert found == Policy(id="test")
    assert found.quote.tcb_statuses == {"UpToDate"} and found.quote.max_collateral_age == 30 * DAY


def test_every_member_is_read() -> None:
    found = policy(
        quote={
            "tcb_statuses": ["UpToDate", "SWHardeningNeeded"],
            "advisories": ["INTEL-SA-1"],
            "max_collateral_age_days": 3,
            "minimum_evaluation": 17,
            "measurements": {"mr_td": ["11" * 48, "22" * 48], "report_data": ["00" * 64]},
        },
        events={
            "required": True,
            "contains": [{"domain": "crag", "operation": "software", "content": "sha256:aa"}],
            "exclusive": ["crag"],
        },
        gpu={
            "required": 8,
            "modes": ["mpt"],
            "require_mode": True,
            "require_statement": True,
            "require_vbios_rim": True,
            "require_driver_rim": True,
            "accepted_measurements": {"9": ["33" * 48]},
            "vbios": ["96.00.9F.00.01"],
            "drivers": ["550.90.07"],
            "require_binding": True,
        },
    )
    assert found.quote.max_collateral_age == 3 * DAY
    assert found.quote.measurements["mr_td"] == {b"\x11" * 48, b"\x22" * 48}
    assert found.events.contains == (RequiredEvent("crag", "software", "sha256:aa"),)
    assert found.gpu.accepted_measurements == {9: {b"\x33" * 48}}
    assert found.gpu.required == 8 and found.gpu.require_driver_rim


@pytest.mark.parametrize(
    "members",
    [
        {"quotes": {}},
        {"quote": []},
        {"quote": {"tcb_status": []}},
        {"quote": {"tcb_statuses": ["Revoked"]}},
        {"quote": {"tcb_statuses": "UpToDate"}},
        {"quote": {"max_collateral_age_days": True}},
        {"quote": {"max_collateral_age_days": -1}},
        {"quote": {"measurements": {"mr_td": []}}},
        {"quote": {"measurements": {"mr_td": ["11"]}}},
        {"quote": {"measurements": {"mr_td": ["zz" * 48]}}},
        {"quote": {"measurements": {"mrtd": ["11" * 48]}}},
        {"events": {"required": 1}},
        {"events": {"contains": [{"domain": "a b", "operation": "c", "content": ""}]}},
        {"events": {"contains": [{"domain": "a"}]}},
        {"events": {"contains": ["a b c"]}},
        {"gpu": {"modes": ["off"]}},
        {"gpu": {"required": "1"}},
        {"gpu": {"accepted_measurements": {"x": []}}},
        {"gpu": {"accepted_measurements": {"9": ["33"]}}},
        {"format": "crag/evidence-policy/v2"},
        {"id": 7},
    ],
)
def test_what_makes_no_sense_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        policy(**members)


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "[" * 100_000, b"\xff"])
def test_what_is_no_policy_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadInput):
        parse_policy(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["id", "quote", "events", "gpu", "x"]), JSON),
    st.sampled_from(["quote", "events", "gpu"]),
    st.dictionaries(
        st.sampled_from(["required", "modes", "measurements", "contains", "tcb_statuses"]), JSON
    ),
)
def test_arbitrary_json_gives_a_policy_or_a_typed_error(
    members: dict[str, Any], place: str, inner: dict[str, Any]
) -> None:
    with contextlib.suppress(CragError):
        parse_policy(json.dumps({"format": FORMAT, **members, place: inner}))
