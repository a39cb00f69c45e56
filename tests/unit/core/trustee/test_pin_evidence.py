"""What is verified of a measurement before a policy pins it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crag_core.attestation.policy import GpuPolicy, Policy, QuotePolicy
from crag_core.errors import AttestationRejected, BadInput
from crag_core.trustee.pin_evidence import Looked, look
from support import logs
from support.fake_intel import NOW
from support.hardware import anchors, intel
from support.td import BOOT, Td, b64, td
from support.trustee import measurement

DATA = b"\x03" * 48


def printed(source: Td | None = None, **changes: Any) -> bytes:
    """What 'attest --json' prints of a TD."""
    source = source or td()
    shown = {
        "tee": "tdx",
        "reference_values": source.references(),
        "evidence": source.evidence(DATA),
    }
    return json.dumps({**shown, **changes}).encode()


def looked(data: bytes, policy: Policy | None = None, **collateral: Any) -> Looked:
    found = [intel().collateral(fmspc="00FFFFFFFFFF"), intel().collateral(**collateral)]
    return look("m.json", data, found, policy or Policy(), at=NOW + 60, anchors=anchors())


@pytest.mark.parametrize("source", [td(), td(text_log=True), td(gpus=1)])
def test_a_genuine_quote_is_verified(source: Td) -> None:
    assert looked(printed(source)) == Looked("m.json", True)


def test_a_machine_that_has_measured_nothing_yet_is_verified_too() -> None:
    quote = intel().quote(report_data=DATA, rtmrs=logs.rtmrs(BOOT))
    evidence = {"quote": b64(quote), "cc_eventlog": b64(logs.ccel(BOOT))}
    assert looked(printed(evidence=evidence)).verified


def test_without_collateral_it_is_said_that_nothing_was_verified() -> None:
    found = look("m.json", printed(), [], Policy())
    assert not found.verified and "collateral" in found.why
    sample = json.dumps({"tee": "sample"}).encode()
    assert "software" in look("m.json", sample, [], Policy()).why


def test_a_quote_below_another_root_is_refused() -> None:
    with pytest.raises(AttestationRejected, match=r"m\.json is refused"):
        look("m.json", printed(), [intel().collateral()], Policy(), at=NOW + 60)


def test_what_is_tolerated_of_a_platform_decides() -> None:
    with pytest.raises(AttestationRejected, match="OutOfDate"):
        looked(printed(), status="OutOfDate")
    lenient = Policy(quote=QuotePolicy(tcb_statuses=frozenset({"OutOfDate"})))
    assert looked(printed(), lenient, status="OutOfDate").verified
    with pytest.raises(AttestationRejected):
        looked(printed(), Policy(gpu=GpuPolicy(required=1)))


@pytest.mark.parametrize("collateral", [[], [intel().collateral()]])
def test_a_log_that_does_not_replay_is_refused(collateral: list[dict[str, Any]]) -> None:
    evidence = {**td().evidence(DATA), "cc_eventlog": b64(logs.ccel(BOOT))}
    with pytest.raises(AttestationRejected, match="RTMR3"):
        look("m.json", printed(evidence=evidence), collateral, Policy(), anchors=anchors())


def test_a_log_of_another_service_is_refused() -> None:
    other = Td(measurement("two")).evidence(DATA)
    with pytest.raises(BadInput, match="another software"):
        looked(printed(evidence=other))


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"[]",
        printed(evidence=None),
        printed(evidence={}),
        printed(evidence={"quote": "*"}),
        printed(evidence={"quote": 7}),
        printed(reference_values=None),
    ],
)
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput):
        looked(data)
