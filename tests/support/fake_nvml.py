"""NVML with GPUs below a root that only tests trust, or with one recorded report."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from support.fake_nvidia import DRIVER, VBIOS
from support.hardware import nvidia


class FakeNvmlError(Exception):
    """As ``pynvml.NVMLError``."""


class FakeNvml:
    """The functions of ``pynvml`` that are used; arrays are fixed and padded as NVML's are.

    ``report``: makes a report for a nonce. ``broken``: names of functions that fail.
    """

    NVMLError = FakeNvmlError

    def __init__(
        self,
        gpus: int = 1,
        *,
        cc: int = 1,
        devtools: int = 0,
        report: Callable[[bytes], bytes] | None = None,
        chain: bytes | None = None,
        broken: tuple[str, ...] = (),
    ) -> None:
        self.gpus, self.cc, self.devtools = gpus, cc, devtools
        self.report = report or nvidia().report
        self.chain = nvidia().chain if chain is None else chain
        self.broken = broken
        self.open = 0
        self.nonces: list[bytes] = []

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in object.__getattribute__(self, "broken"):

            def fail(*_arguments: Any) -> Any:
                raise FakeNvmlError("Not Supported")

            return fail
        return object.__getattribute__(self, name)

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlSystemGetConfComputeState(self) -> Any:
        return SimpleNamespace(environment=2, ccFeature=self.cc, devToolsMode=self.devtools)

    def nvmlSystemGetDriverVersion(self) -> str:
        return DRIVER

    def nvmlDeviceGetCount(self) -> int:
        return self.gpus

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:
        return f"GPU-{handle}"

    def nvmlDeviceGetName(self, handle: int) -> str:
        return "NVIDIA H100"

    def nvmlDeviceGetVbiosVersion(self, handle: int) -> str:
        return VBIOS

    def nvmlDeviceGetConfComputeGpuAttestationReport(self, handle: int, nonce: list[int]) -> Any:
        self.nonces.append(bytes(nonce))
        made = self.report(bytes(nonce))
        return SimpleNamespace(
            attestationReportSize=len(made), attestationReport=list(made.ljust(0x2000, b"\0"))
        )

    def nvmlDeviceGetConfComputeGpuCertificate(self, handle: int) -> Any:
        return SimpleNamespace(
            certChainSize=0,
            certChain=[0] * 0x1000,
            attestationCertChainSize=len(self.chain) + 1,
            attestationCertChain=list(self.chain.ljust(0x1400, b"\0")),
        )
