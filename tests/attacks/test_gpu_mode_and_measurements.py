"""A genuine GPU in the wrong state: confidential mode off, developer tools, other firmware."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from crag_core.attestation.policy import GpuPolicy, Policy
from support.fake_nvidia import DRIVER, FakeNvidia, key
from support.hardware import failed, intel, judge, nvidia

NONCE = bytes(range(32))
QUOTE = intel().quote(report_data=NONCE)


def gpu(
    opaque: dict[int, bytes] | None = None,
    *,
    rims: list[str] | None = None,
    stated: dict[str, Any] | None = None,
    **rules: Any,
) -> list[str]:
    """The failed checks of a GPU with these opaque fields, RIMs and collector's statements."""
    report = nvidia().report(NONCE, opaque={**nvidia().opaque(), **(opaque or {})})
    item = {
        "attestation_report": base64.b64encode(report).decode(),
        "certificate": base64.b64encode(nvidia().chain).decode(),
        **(stated or {}),
    }
    collateral = {**intel().collateral(), "nvidia_rims": rims or []}
    verdict = judge(
        QUOTE,
        collateral,
        gpu_report=json.dumps(item).encode(),
        policy=Policy(gpu=GpuPolicy(**rules)),
    )
    return failed(verdict)


# confidential mode


def test_the_good_gpu_is_accepted() -> None:
    assert gpu() == []


def test_a_gpu_with_cc_off_is_refused() -> None:
    assert gpu(stated={"cc_enabled": False}) == ["gpu0-statement"]


def test_a_gpu_with_devtools_is_refused() -> None:
    assert gpu(stated={"cc_enabled": True, "devtools": True}) == ["gpu0-statement"]


def test_silence_about_the_mode_is_refused_where_the_policy_wants_the_statement() -> None:
    assert gpu(require_statement=True) == ["gpu0-statement"]
    assert gpu(stated={"cc_enabled": True}, require_statement=True) == ["gpu0-statement"]
    good = {"cc_enabled": True, "devtools": False}
    assert gpu(stated=good, require_statement=True) == []


def test_a_statement_that_contradicts_the_report_is_refused() -> None:
    assert gpu(stated={"vbios_version": "96.00.9F.00.01"}) == ["gpu0-statement"]
    assert gpu(stated={"driver_version": "550.90.07"}) == ["gpu0-statement"]
    right = {"vbios_version": "96.00.74.00.1a", "driver_version": DRIVER}
    assert gpu(stated=right) == []


@pytest.mark.parametrize(("flag", "mode"), [(b"\x01\0", "mpt"), (b"\x02\0", "ppcie")])
def test_a_mode_that_the_policy_does_not_name_is_refused(flag: bytes, mode: str) -> None:
    assert gpu({36: flag}) == ["gpu0-mode"]
    assert gpu({36: flag}, modes=frozenset({mode})) == []


@pytest.mark.parametrize("flag", [b"\x03\0", b"\xff\xff", b"\0\1"])
def test_an_unknown_mode_is_refused_by_every_policy(flag: bytes) -> None:
    assert gpu({36: flag}, modes=frozenset({"spt", "mpt", "ppcie"})) == ["gpu0-mode"]


def test_protected_pcie_is_seen_even_if_the_flag_says_otherwise() -> None:
    assert gpu({21: b"\xaa"}) == ["gpu0-mode"]
    assert gpu({21: b"\x00"}) == ["gpu0-mode"]


def test_a_report_that_does_not_tell_its_mode_is_refused_where_the_policy_wants_it() -> None:
    assert gpu({34: b"\0\0"}) == []
    assert gpu({34: b"\0\0"}, require_mode=True) == ["gpu0-mode"]


# measurements


def test_measurements_as_the_rims_say_are_accepted() -> None:
    rims = [nvidia().rim(), nvidia().rim(version=DRIVER, indices=range(20, 40))]
    strict = {"require_vbios_rim": True, "require_driver_rim": True}
    assert gpu(rims=rims, **strict) == []


def test_one_measurement_that_differs_is_refused() -> None:
    assert gpu(rims=[nvidia().rim(changed=(7,))]) == ["gpu0-rim-vbios"]


def test_comparing_without_the_shift_by_one_would_not_match() -> None:
    """A RIM whose index i holds SPDM block i, as the forks compare it."""
    shifted = FakeNvidia()
    shifted.measurements = {index + 1: shifted.measurements[index] for index in range(1, 64)} | {
        1: bytes(48)
    }
    assert gpu(rims=[shifted.rim(indices=range(1, 12))]) == ["gpu0-rim-vbios"]


def test_a_value_that_the_policy_names_is_accepted_for_its_index_only() -> None:
    rims = [nvidia().rim(changed=(9,))]
    value = nvidia().measurements[10]
    assert gpu(rims=rims, accepted_measurements={9: frozenset({value})}) == []
    assert gpu(rims=rims, accepted_measurements={8: frozenset({value})}) == ["gpu0-rim-vbios"]


def test_measurement_35_is_skipped_only_while_the_video_decoder_is_off() -> None:
    rims = [nvidia().rim(version=DRIVER, indices=(34, 35, 36), changed=(35,))]
    assert gpu(rims=rims) == []
    assert gpu({11: b"\xaa"}, rims=rims) == ["gpu0-rim-driver"]


def test_a_mismatched_vbios_is_refused() -> None:
    assert gpu(rims=[nvidia().rim(version="96.00.5E.00.01")]) == ["gpu0-rim-vbios"]


def test_a_vbios_that_no_rim_knows_does_not_slip_through() -> None:
    opaque = {6: bytes.fromhex("009f009601000000")}
    assert gpu(opaque, rims=[nvidia().rim()]) == ["gpu0-rim-vbios"]


def test_the_rim_of_another_product_is_refused() -> None:
    assert gpu(rims=[nvidia().rim(product="GB100")]) == ["gpu0-rim-vbios"]
    assert gpu(rims=[nvidia().rim(product="GH10")]) == ["gpu0-rim-vbios"]
    assert gpu(rims=[nvidia().rim(product="")]) == ["gpu0-rim-vbios"]


def test_missing_rims_are_refused_where_the_policy_wants_them() -> None:
    assert gpu(require_vbios_rim=True) == ["gpu0-rim-vbios"]
    assert gpu(require_driver_rim=True, rims=[nvidia().rim()]) == ["gpu0-rim-driver"]


def test_versions_that_the_policy_does_not_name_are_refused() -> None:
    assert gpu(vbios=frozenset({"96.00.9F.00.01"})) == ["gpu0-version"]
    assert gpu(drivers=frozenset({"550.90.07"})) == ["gpu0-version"]
    assert gpu(vbios=frozenset({"96.00.74.00.1a"}), drivers=frozenset({DRIVER})) == []


# forged RIMs


def test_a_rim_whose_values_were_changed_is_refused() -> None:
    assert gpu(rims=[nvidia().rim(tamper=True)]) == ["rim 0"]


def test_a_rim_that_somebody_else_signed_is_refused() -> None:
    forger = FakeNvidia()
    forger.rim_key = key("forger")
    assert gpu(rims=[forger.rim()]) == ["rim 0"]


def test_a_rim_wrapped_around_a_signed_one_is_refused() -> None:
    good = nvidia().rim(changed=(7,))
    start, end = good.index("<d:Signature"), good.index("</d:Signature>") + len("</d:Signature>")
    evil = nvidia().rim()
    body = evil[: evil.index("<d:Signature")]
    for forged in (
        body + good[start:end] + "</n:SoftwareIdentity>",
        good[:start] + body + "</n:SoftwareIdentity>" + good[start:],
        good.replace("</n:SoftwareIdentity>", "<n:Payload></n:Payload></n:SoftwareIdentity>"),
    ):
        assert "rim 0" in gpu(rims=[forged])


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<a/>",
        "<a",
        '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        "<?x y?><a></a>",
        "<a><!-- b --></a>",
        "<a:b></a:b>",
        "<a>" * 100 + "</a>" * 100,
        '<a xml:lang="x"></a>',
    ],
)
def test_a_rim_that_is_no_rim_is_refused(document: str) -> None:
    assert gpu(rims=[document]) == ["rim 0"]
