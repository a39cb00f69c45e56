"""Bundles of collateral: signed by a pinned key, dated, and complete, or not used."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.attestation.bundle import MAX_AGE, Bundle, export_bundle, import_bundle
from crag_core.errors import BadInput, CragError, IntegrityViolated
from support.fake_intel import NOW
from support.hardware import intel, judge, nvidia

KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
BUNDLE = Bundle(
    NOW,
    (
        {**intel().collateral(), "ca": "platform"},
        {**intel().collateral(fmspc="112233445566"), "ca": "platform"},
    ),
    (nvidia().rim(),),
)


def test_what_was_exported_is_imported_and_verifies_quotes() -> None:
    found = import_bundle(export_bundle(BUNDLE, KEY), [PUBLIC], NOW + 60)
    assert found.created == NOW
    collateral = found.find(intel().fmspc)
    assert collateral["nvidia_rims"] == list(BUNDLE.rims)
    assert judge(collateral=collateral).verdict == "affirming"


def test_the_newest_of_several_is_found() -> None:
    entries = [intel().collateral(at=NOW - days * 86400) for days in (3, 1, 2)]
    assert Bundle(NOW, entries).find(intel().fmspc)["tcb_info"] == entries[1]["tcb_info"]


def test_a_platform_that_is_not_in_it_is_named() -> None:
    for arguments in (
        ("ABCDEFABCDEF",),
        (intel().fmspc, "sgx"),
        (intel().fmspc, "tdx", "processor"),
    ):
        with pytest.raises(BadInput, match=arguments[0]):
            BUNDLE.find(*arguments)


def test_a_bundle_of_another_key_is_refused_although_it_names_the_pinned_one() -> None:
    forged = json.loads(export_bundle(BUNDLE, OTHER))
    forged["key"] = PUBLIC.hex()
    with pytest.raises(IntegrityViolated):
        import_bundle(json.dumps(forged).encode(), [PUBLIC], NOW)
    with pytest.raises(IntegrityViolated):
        import_bundle(export_bundle(BUNDLE, KEY), [], NOW)


def test_a_changed_bundle_is_refused() -> None:
    changed = json.loads(export_bundle(BUNDLE, KEY))
    changed["body"] = changed["body"].replace(f'"created":{NOW}', f'"created":{NOW + 1}')
    with pytest.raises(IntegrityViolated):
        import_bundle(json.dumps(changed).encode(), [PUBLIC], NOW)


def test_an_old_bundle_and_one_of_the_future_are_refused() -> None:
    data = export_bundle(BUNDLE, KEY)
    assert import_bundle(data, [PUBLIC], NOW + MAX_AGE).created == NOW
    for at in (NOW + MAX_AGE + 1, NOW - 301):
        with pytest.raises(BadInput, match="days"):
            import_bundle(data, [PUBLIC], at)


def test_what_is_no_collateral_is_not_exported() -> None:
    with pytest.raises(BadInput):
        export_bundle(Bundle(NOW, ({"tcb_info": "{}"},)), KEY)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 20), st.binary(min_size=1, max_size=4))
def test_mutated_bundles_raise_nothing_but_typed_errors(place: int, new: bytes) -> None:
    data = bytearray(export_bundle(BUNDLE, KEY))
    at = place % len(data)
    data[at : at + len(new)] = new
    try:
        found = import_bundle(bytes(data), [PUBLIC], NOW)
    except CragError:
        return
    assert found == import_bundle(export_bundle(BUNDLE, KEY), [PUBLIC], NOW)
