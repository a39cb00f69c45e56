"""Which evidence the service takes, and what is refused where a machine lacks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.nvml import GpuCollector
from crag_core.errors import AttestationRejected, NotSupported, Unreachable, UsageError
from crag_provider.evidence import evidence_source
from crag_provider.evidence_options import evidence_settings
from crag_provider.settings import ProviderSettings
from support.fake_agent import FakeAgent
from support.fake_kernel import FakeKernel
from support.fake_nvml import FakeNvml
from support.fuse import mounting
from support.trustee import measurement

NOBODY = "http://127.0.0.1:1"
MEASURED = measurement()
NO_GPUS = GpuCollector(FakeNvml(0))
DATA = b"\x09" * 48


def settings(**changes: Any) -> ProviderSettings:
    base = ProviderSettings(
        trustee_url="http://one",
        model_key_id="kbs:///default/crag/model-key",
        alt_trustee_url="http://one",
        alt_key_id="kbs:///default/crag/documents-key",
        collection="documents",
        agent_url=NOBODY,
        sys_root=Path("/nowhere"),
    )
    return dataclasses.replace(base, **changes)


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path_factory.mktemp("kernel") / "sys") as kernel:
        yield kernel


@pytest.fixture
def kernel(mounted: FakeKernel) -> FakeKernel:
    mounted.restart()
    return mounted


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        yield running


def test_no_tee_and_no_flag_is_refused() -> None:
    with pytest.raises(NotSupported, match="no TEE") as caught:
        evidence_source(settings(), MEASURED)
    assert "/nowhere/kernel/config/tsm/report" in caught.value.message


def test_software_vouches_only_with_the_flag() -> None:
    chosen = evidence_source(settings(insecure_sample_evidence=True), MEASURED)
    assert (chosen.kind, chosen.source.tee, chosen.source.measure()) == ("sample", "sample", 0)
    assert chosen.source.register == MEASURED.register().hex()


@mounting
def test_the_kernel_comes_first_even_with_the_flag(kernel: FakeKernel, agent: FakeAgent) -> None:
    wanted = settings(sys_root=kernel.root, agent_url=agent.url, insecure_sample_evidence=True)
    chosen = evidence_source(wanted, MEASURED, collector=NO_GPUS)
    assert chosen.kind == "tdx" and kernel.seen()["extended"] == []
    assert chosen.source.measure() == 3
    assert chosen.source.register == kernel.seen()["rtmrs"][3]
    assert agent.lines == [] and kernel.seen()["entries"] == []


@mounting
def test_a_kernel_that_cannot_extend_leaves_it_to_the_agent(
    kernel: FakeKernel, agent: FakeAgent
) -> None:
    kernel.set(sysfs=False)
    wanted = settings(sys_root=kernel.root, agent_url=agent.url)
    assert evidence_source(wanted, MEASURED, collector=NO_GPUS).kind == "agent"
    alone = settings(sys_root=kernel.root)
    with pytest.raises(NotSupported, match=r"6\.16"):
        evidence_source(alone, MEASURED, collector=NO_GPUS)
    chosen = evidence_source(
        settings(sys_root=kernel.root, evidence="tdx"), MEASURED, collector=NO_GPUS
    )
    with pytest.raises(NotSupported, match="rtmr3"):
        chosen.source.measure()


@mounting
def test_another_tee_is_not_taken_for_a_td(kernel: FakeKernel) -> None:
    kernel.set(provider="sev_guest")
    with pytest.raises(NotSupported, match="sev_guest"):
        evidence_source(settings(sys_root=kernel.root, evidence="tdx"), MEASURED)


@mounting
def test_with_the_agents_data_hub_the_agent_measures(kernel: FakeKernel, agent: FakeAgent) -> None:
    wanted = settings(sys_root=kernel.root, agent_url=agent.url, key_source="cdh")
    assert evidence_source(wanted, MEASURED, collector=NO_GPUS).kind == "agent"


def test_an_agent_that_is_asked_for_and_silent_is_unreachable(agent: FakeAgent) -> None:
    chosen = evidence_source(settings(evidence="agent"), MEASURED, collector=NO_GPUS)
    with pytest.raises(Unreachable, match="agent"):
        chosen.source.measure()
    wanted = settings(agent_url=agent.url)
    chosen = evidence_source(wanted, MEASURED, collector=NO_GPUS)
    assert chosen.kind == "agent" and chosen.source.measure() == 3


@mounting
def test_gpus_are_required_where_that_is_asked(kernel: FakeKernel, agent: FakeAgent) -> None:
    for wanted in (
        settings(sys_root=kernel.root, gpu_evidence="require"),
        settings(agent_url=agent.url, gpu_evidence="require"),
        settings(insecure_sample_evidence=True, gpu_evidence="require"),
    ):
        with pytest.raises(NotSupported, match="GPU evidence is required"):
            evidence_source(wanted, MEASURED, collector=NO_GPUS)
    off = GpuCollector(FakeNvml(cc=0))
    with pytest.raises(NotSupported, match="mode is off"):
        evidence_source(
            settings(sys_root=kernel.root, gpu_evidence="require"), MEASURED, collector=off
        )


@mounting
@pytest.mark.parametrize(("word", "there"), [("require", 1), ("if-present", 1), ("none", 0)])
def test_gpus_attest_with_the_machine(
    kernel: FakeKernel, agent: FakeAgent, word: str, there: int
) -> None:
    agent.gpus = {"evidence_list": [{"of": "the agent"}]}
    one = GpuCollector(FakeNvml(1))
    for wanted in (
        settings(sys_root=kernel.root, gpu_evidence=word),
        settings(agent_url=agent.url, gpu_evidence=word),
    ):
        chosen = evidence_source(wanted, MEASURED, collector=one)
        found = chosen.source.evidence(DATA)["gpu_evidence"]
        assert (found is not None) == bool(there)
        if found:
            assert found["evidence_list"][0]["uuid"] == "GPU-0"


def test_the_agents_gpus_count_where_this_process_sees_none(agent: FakeAgent) -> None:
    agent.gpus = {"evidence_list": [{"of": "the agent"}]}
    said: list[str] = []
    for word in ("require", "if-present"):
        wanted = settings(agent_url=agent.url, gpu_evidence=word)
        chosen = evidence_source(wanted, MEASURED, said.append, NO_GPUS)
        assert chosen.source.evidence(DATA)["gpu_evidence"] == agent.gpus
    assert len(said) == 1 and "0 NVIDIA GPUs" in said[0]


@mounting
def test_a_changed_measurement_is_not_extended_behind_the_first(kernel: FakeKernel) -> None:
    wanted = settings(sys_root=kernel.root)
    evidence_source(wanted, MEASURED, collector=NO_GPUS).source.measure()
    other = evidence_source(wanted, measurement("two"), collector=NO_GPUS)
    with pytest.raises(AttestationRejected, match="turned back"):
        other.source.measure()
    assert len(kernel.seen()["extended"]) == 3


GIVEN = {
    "insecure_sample_evidence": False,
    "evidence": "auto",
    "agent_url": "http://127.0.0.1:8006",
    "gpu_evidence": "if-present",
    "event_log": "ccel",
    "key_source": "kbs",
    "cdh_config": None,
    "sys_root": Path("/sys"),
    "trustee_url": "http://one",
    "alt_trustee_url": None,
}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"evidence": "sample"}, "proves nothing"),
        ({"agent_url": "http://10.0.0.1:8006"}, "on this machine"),
        ({"key_source": "cdh", "evidence": "tdx"}, "must measure"),
        ({"key_source": "cdh", "alt_trustee_url": "http://two"}, "one Trustee"),
    ],
)
def test_options_that_contradict_each_other(change: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        evidence_settings({**GIVEN, **change}, needs_model=True)


def test_options_that_fit() -> None:
    hub = {"key_source": "cdh", "alt_trustee_url": "http://two"}
    assert evidence_settings({**GIVEN, **hub}, needs_model=False)["key_source"] == "cdh"
    assert evidence_settings(GIVEN, needs_model=True)["evidence"] == "auto"
