"""GPU evidence collected through NVML, on a library of the tests' own."""

from __future__ import annotations

import base64
import json
import sys
import types

import pytest

from crag_core.attestation.nvml import GpuCollector
from crag_core.attestation.policy import GpuPolicy, Policy
from crag_core.errors import NotSupported
from support import vectors
from support.fake_nvml import FakeNvml
from support.hardware import failed, intel, judge

NONCE = b"\x07" * 32


def test_what_is_collected_verifies_and_is_tied_to_the_td() -> None:
    library = FakeNvml()
    collected = GpuCollector(library)(NONCE)
    strict = Policy(gpu=GpuPolicy(required=1, require_statement=True, require_binding=True))
    quote = intel().quote(report_data=NONCE + bytes(32))
    verdict = judge(quote, gpu_report=json.dumps(collected).encode(), policy=strict)
    assert verdict.verdict == "affirming", verdict.failure
    assert library.nonces == [NONCE] and library.open == 0
    assert collected["evidence_list"][0]["name"] == "NVIDIA H100"


def test_developer_tools_are_stated_and_then_refused() -> None:
    collected = GpuCollector(FakeNvml(devtools=1))(NONCE)
    assert collected["evidence_list"][0]["devtools"] is True
    quote = intel().quote(report_data=NONCE + bytes(32))
    assert failed(judge(quote, gpu_report=json.dumps(collected).encode())) == ["gpu0-statement"]


def test_each_gpu_answers() -> None:
    collected = GpuCollector(FakeNvml(3))(NONCE)
    assert [entry["uuid"] for entry in collected["evidence_list"]] == ["GPU-0", "GPU-1", "GPU-2"]


@pytest.mark.parametrize(
    ("library", "why"),
    [
        (FakeNvml(0), "0 NVIDIA GPUs"),
        (FakeNvml(17), "17 NVIDIA GPUs"),
        (FakeNvml(cc=0), "confidential mode is off"),
        (FakeNvml(broken=("nvmlInit",)), "driver does not answer"),
        (FakeNvml(broken=("nvmlSystemGetConfComputeState",)), "no confidential mode"),
    ],
)
def test_what_is_lacking_is_named(library: FakeNvml, why: str) -> None:
    collector = GpuCollector(library)
    assert why in collector.lacking()
    with pytest.raises(NotSupported, match=why):
        collector(NONCE)
    assert library.open <= 0 or library.broken == ("nvmlInit",)


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetConfComputeGpuAttestationReport",
        "nvmlDeviceGetConfComputeGpuCertificate",
    ],
)
def test_a_gpu_that_gives_nothing_stops_everything(function: str) -> None:
    library = FakeNvml(broken=(function,))
    assert GpuCollector(library).lacking() == ""
    with pytest.raises(NotSupported, match="GPU 0 gives no"):
        GpuCollector(library)(NONCE)
    assert library.open == 0


@pytest.mark.parametrize("size", [0, 0x2001])
def test_a_report_of_no_sensible_size_is_refused(size: int) -> None:
    library = FakeNvml(report=lambda _nonce: bytes(size))
    with pytest.raises(NotSupported, match=f"{size} bytes"):
        GpuCollector(library)(NONCE)


def test_a_nonce_of_another_length_is_a_mistake_of_ours() -> None:
    with pytest.raises(ValueError, match="32"):
        GpuCollector(FakeNvml())(b"short")


def test_a_machine_without_the_library_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert "not installed" in GpuCollector().lacking()


@vectors.needed
def test_a_library_of_before_confidential_computing_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = types.ModuleType("pynvml")
    monkeypatch.setattr(old, "NVMLError", OSError, raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", old)
    assert "too old: it lacks nvmlSystemGetConfComputeState" in GpuCollector().lacking()


def test_a_recorded_report_comes_through_unchanged() -> None:
    report = bytes.fromhex(vectors.data("nvidia/hopper_coco_report1.txt").decode())
    chain = vectors.data("nvidia/hopper_coco_certs1.txt")
    library = FakeNvml(report=lambda _nonce: report, chain=chain)
    entry = GpuCollector(library)(NONCE)["evidence_list"][0]
    assert base64.b64decode(entry["attestation_report"]) == report
    assert base64.b64decode(entry["certificate"]) == chain
