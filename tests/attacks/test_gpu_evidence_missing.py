"""A workload without the GPU that the policy wants gets no verdict and no key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.attestation.policy import GpuPolicy, Policy
from crag_core.attestation.tdx_evidence import verify_tdx_evidence
from crag_core.errors import AttestationRejected
from crag_core.trustee.kbs import KbsClient
from support.fake_intel import NOW
from support.hardware import anchors, failed, intel
from support.td import place as hardware_place
from support.td import td
from support.trustee import RESOURCE, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = hardware_place(tmp_path / "trustee")
    policy = {"format": "crag/evidence-policy/v1", "gpu": {"required": 1}}
    (made.folder / "evidence-policy.json").write_text(json.dumps(policy))
    yield made
    made.trustee.stop()


def test_the_trustee_refuses_the_handshake(place: Place) -> None:
    with (
        KbsClient(place.url, td()) as client,
        pytest.raises(AttestationRejected, match="0 answered"),
    ):
        client.fetch(RESOURCE)


@pytest.mark.parametrize("empty", [None, {}, {"evidence_list": []}])
def test_the_verifier_refuses_evidence_that_says_nothing_of_a_gpu(empty: object) -> None:
    data = b"\x05" * 48
    evidence = {**td().evidence(data), "gpu_evidence": empty}
    verdict = verify_tdx_evidence(
        evidence,
        data,
        intel().collateral(),
        NOW + 60,
        Policy(gpu=GpuPolicy(required=1)),
        anchors=anchors(),
    )
    assert verdict.verdict == "rejected"
    assert "gpu" in failed(verdict)
