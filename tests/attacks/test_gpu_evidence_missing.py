"""A workload without the GPU that the policy wants gets no verdict and no key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.attestation.policy import GpuPolicy, Policy
from crag_core.attestation.tdx_evidence import verify_tdx_evidence
from crag_core.attestation.verdict import Verdict
from crag_core.errors import AttestationRejected
from crag_core.trustee import release_policy
from crag_core.trustee.kbs import KbsClient
from support.fake_intel import NOW
from support.hardware import anchors, failed, intel
from support.td import place as hardware_place
from support.td import td
from support.trustee import RESOURCE, SECRET, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = hardware_place(tmp_path / "trustee")
    policy = {"format": "crag/evidence-policy/v1", "gpu": {"required": 1}}
    (made.folder / "evidence-policy.json").write_text(json.dumps(policy))
    yield made
    made.trustee.stop()


def test_gpu_evidence_missing_where_the_trustees_policy_wants_one(place: Place) -> None:
    source = td(gpus=1)
    with place.admin() as admin:
        admin.set_resource(RESOURCE, SECRET)
        admin.set_reference_values(source.references())
        admin.set_resource_policy(release_policy.write([RESOURCE]))
    with KbsClient(place.url, source) as client:  # the control: the same TD with its GPU
        assert client.fetch(RESOURCE) == SECRET
    with (
        KbsClient(place.url, td()) as client,
        pytest.raises(AttestationRejected, match="0 answered"),
    ):
        client.fetch(RESOURCE)


@pytest.mark.parametrize("empty", [None, {}, {"evidence_list": []}])
def test_gpu_evidence_missing_where_the_verifiers_policy_wants_one(empty: object) -> None:
    data = b"\x05" * 48

    def judged(evidence: dict[str, object]) -> Verdict:
        at, policy = NOW + 60, Policy(gpu=GpuPolicy(required=1))
        collateral = intel().collateral()
        return verify_tdx_evidence(evidence, data, collateral, at, policy, anchors=anchors())

    assert judged(td(gpus=1).evidence(data)).verdict == "affirming"
    evidence = {**td().evidence(data), "gpu_evidence": empty}
    verdict = judged(evidence)
    assert verdict.verdict == "rejected"
    assert "gpu" in failed(verdict)
