"""The evidence object: what a TD makes on a fake kernel is what a verifier accepts."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.evidence import EvidenceSource
from crag_core.attestation.policy import EventPolicy, GpuPolicy, Policy, RequiredEvent
from crag_core.attestation.tdx_evidence import TdxSource, verify_tdx_evidence
from crag_core.attestation.tsm import TsmReports
from crag_core.attestation.verdict import Verdict
from crag_core.errors import AttestationRejected
from support import logs
from support.fake_intel import NOW
from support.fake_kernel import FakeKernel
from support.fuse import mounting
from support.hardware import anchors, failed, intel, nvidia

DATA = b"\x05" * 48
SOFTWARE = "crag software sha256:" + "aa" * 32


def judge(evidence: dict[str, Any], data: bytes = DATA, policy: Policy | None = None) -> Verdict:
    return verify_tdx_evidence(
        evidence, data, intel().collateral(), NOW + 60, policy, anchors=anchors()
    )


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def gpu(nonce: bytes) -> dict[str, Any]:
    entry = {
        "attestation_report": encoded(nvidia().report(nonce)),
        "certificate": encoded(nvidia().chain),
        "cc_enabled": True,
        "devtools": False,
    }
    return {"evidence_list": [entry]}


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path_factory.mktemp("kernel") / "sys") as kernel:
        yield kernel


@pytest.fixture
def kernel(mounted: FakeKernel) -> FakeKernel:
    mounted.restart()
    return mounted


@pytest.fixture
def reports(kernel: FakeKernel) -> TsmReports:
    return TsmReports(kernel.report, attempts=1)


@mounting
def test_what_the_td_makes_is_accepted_and_ties_its_gpu(
    kernel: FakeKernel, reports: TsmReports
) -> None:
    source: EvidenceSource = TdxSource(reports, ccel=kernel.ccel, gpus=gpu)
    evidence = source.evidence(DATA)
    strict = Policy(
        events=EventPolicy(required=True),
        gpu=GpuPolicy(required=1, require_statement=True, require_binding=True),
    )
    verdict = judge(evidence, policy=strict)
    assert verdict.verdict == "affirming", verdict.failure
    assert verdict.gpu[0]["bound"] is True
    assert source.tee == "tdx" and source.additional(DATA) is None
    assert len(base64.b64decode(evidence["cc_eventlog"])) < 500


@mounting
def test_evidence_over_other_data_is_refused(reports: TsmReports, tmp_path: Path) -> None:
    evidence = TdxSource(reports, ccel=tmp_path / "absent").evidence(DATA)
    assert evidence["cc_eventlog"] is None and evidence["gpu_evidence"] is None
    assert judge(evidence).verdict == "affirming"
    assert failed(judge(evidence, b"\x06" * 48)) == ["report-data"]


@mounting
def test_an_empty_table_is_no_log(reports: TsmReports, tmp_path: Path) -> None:
    (tmp_path / "CCEL").write_bytes(b"\xff" * 4096)
    assert TdxSource(reports, ccel=tmp_path / "CCEL").evidence(DATA)["cc_eventlog"] is None


def test_a_gpu_of_another_td_is_refused() -> None:
    evidence = {"quote": encoded(intel().quote(report_data=DATA)), "gpu_evidence": gpu(bytes(32))}
    assert failed(judge(evidence)) == ["gpu0-nonce"]


def test_the_agents_log_of_trustee_1_5_stands_beside_the_ccel() -> None:
    boot = [logs.event(1, logs.IPL, b"firmware")]
    text, register = logs.text_log([SOFTWARE])
    quote = intel().quote(report_data=DATA, rtmrs=(*logs.rtmrs(boot)[:3], register))
    evidence = {
        "quote": encoded(quote),
        "cc_eventlog": encoded(logs.ccel(boot)),
        "aa_eventlog": text.decode(),
    }
    wanted = RequiredEvent(*SOFTWARE.split(" "))
    policy = Policy(events=EventPolicy(required=True, contains=(wanted,)))
    assert judge(evidence, policy=policy).verdict == "affirming"
    assert failed(judge({**evidence, "aa_eventlog": None}, policy=policy))[0] == "event-log"
    both = {**evidence, "cc_eventlog": encoded(logs.ccel([*boot, logs.aael(SOFTWARE)]))}
    assert "event-log" in failed(judge(both, policy=policy))
    twice = {**evidence, "cc_eventlog": encoded(text)}
    assert "event-log" in failed(judge(twice, policy=policy))


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"quote": 1},
        {"quote": "*"},
        {"quote": "AAAA", "cc_eventlog": 7},
        {"quote": "AAAA", "aa_eventlog": ["x"]},
        {"quote": "AAAA", "gpu_evidence": "x"},
    ],
)
def test_an_object_that_cannot_be_read_is_refused(evidence: dict[str, Any]) -> None:
    with pytest.raises(AttestationRejected, match="malformed"):
        judge(evidence)
