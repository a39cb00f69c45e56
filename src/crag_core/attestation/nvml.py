"""GPU evidence from inside the TD, through NVIDIA's management library.

Each GPU signs a report over a nonce. The nonce is the first half of the TD's report data, which is
what ties the GPUs to the TD (:mod:`crag_core.attestation.nvidia` judges it). The object is that of
the Trustee forks; the chain is the one that signs reports (``attestationCertChain``). Source:
nvml.h and ``nvidia-ml-py`` 13, confidential computing functions.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

from crag_core.attestation.gpu_evidence import MAX_GPUS
from crag_core.errors import NotSupported

NONCE = 32
_ENABLED = 1
_DEVTOOLS_ON = 1
_MAX_REPORT = 0x2000
_MAX_CHAIN = 0x1400

_NEEDED = (
    "NVMLError",
    "nvmlSystemGetConfComputeState",
    "nvmlDeviceGetConfComputeGpuAttestationReport",
    "nvmlDeviceGetConfComputeGpuCertificate",
)

T = TypeVar("T")


class Nvml(Protocol):
    """What is used of the module ``pynvml``; every call may raise its ``NVMLError``."""

    NVMLError: type[Exception]

    def nvmlInit(self) -> None:
        """Load the driver's library."""

    def nvmlShutdown(self) -> None:
        """Release it."""

    def nvmlSystemGetConfComputeState(self) -> Any:
        """``environment``, ``ccFeature`` and ``devToolsMode``."""

    def nvmlSystemGetDriverVersion(self) -> str:
        """For example ``580.95.05``."""

    def nvmlDeviceGetCount(self) -> int:
        """How many GPUs there are."""

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        """A GPU, from 0."""

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        """Its UUID."""

    def nvmlDeviceGetName(self, handle: Any) -> str:
        """Its product name."""

    def nvmlDeviceGetVbiosVersion(self, handle: Any) -> str:
        """Its VBIOS, for example ``96.00.74.00.1A``."""

    def nvmlDeviceGetConfComputeGpuAttestationReport(self, handle: Any, nonce: list[int]) -> Any:
        """``attestationReport`` and ``attestationReportSize``: SPDM request and response."""

    def nvmlDeviceGetConfComputeGpuCertificate(self, handle: Any) -> Any:
        """``attestationCertChain`` and ``attestationCertChainSize``: PEM, leaf first."""


class GpuCollector:
    """Collects the evidence of all GPUs of this machine; safe for several threads.

    Args:
        library: NVML; ``pynvml`` (``pip install 'crag-provider[nvml]'``) where None is given.
    """

    def __init__(self, library: Nvml | None = None) -> None:
        self._given = library

    def lacking(self) -> str:
        """Why no evidence can be collected here, in words; empty where it can."""
        try:
            with self._library() as nvml:
                _devices(nvml)
                _mode(nvml)
        except NotSupported as error:
            return error.message
        return ""

    def __call__(self, nonce: bytes) -> dict[str, Any]:
        """The evidence of every GPU over ``nonce`` (32 bytes).

        Returns:
            ``{"evidence_list": [...], "collection_time"}`` as the Trustee forks have it.

        Raises:
            NotSupported: there is no library, driver or GPU, confidential mode is off, or a GPU
                gives no report.
        """
        if len(nonce) != NONCE:
            raise ValueError(f"a GPU's nonce has {NONCE} bytes")
        with self._library() as nvml:
            count = _devices(nvml)
            devtools = _mode(nvml)
            entries = [_entry(nvml, index, nonce, devtools) for index in range(count)]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        return {"evidence_list": entries, "collection_time": now}

    @contextmanager
    def _library(self) -> Iterator[Nvml]:
        nvml = self._given or _import()
        _call(nvml, "NVIDIA's driver does not answer", nvml.nvmlInit)
        try:
            yield nvml
        finally:
            with suppress(nvml.NVMLError):
                nvml.nvmlShutdown()


def _import() -> Nvml:
    try:
        found: Any = importlib.import_module("pynvml")
    except ImportError:
        raise NotSupported(
            "The library that talks to NVIDIA's driver is not installed.",
            hint="pip install 'crag-provider[nvml]'",
        ) from None
    lacks = [name for name in _NEEDED if not hasattr(found, name)]
    if lacks:
        raise NotSupported(
            f"The installed pynvml is too old: it lacks {lacks[0]}.",
            hint="pip install 'crag-provider[nvml]', and uninstall other packages of that name.",
        )
    library: Nvml = found
    return library


def _call(nvml: Nvml, what: str, function: Callable[..., T], *arguments: Any) -> T:
    try:
        return function(*arguments)
    except nvml.NVMLError as error:
        raise NotSupported(
            f"{what}: {error}.", hint="Look at the driver with 'nvidia-smi conf-compute -f'."
        ) from None


def _devices(nvml: Nvml) -> int:
    count = _call(nvml, "The GPUs cannot be counted", nvml.nvmlDeviceGetCount)
    if not 0 < count <= MAX_GPUS:
        raise NotSupported(
            f"There are {count} NVIDIA GPUs in this machine; evidence is of 1 to {MAX_GPUS}."
        )
    return count


def _mode(nvml: Nvml) -> bool:
    """Whether developer tools are on; confidential mode must be.

    Raises:
        NotSupported: it is off.
    """
    what = "The GPUs have no confidential mode"
    state = _call(nvml, what, nvml.nvmlSystemGetConfComputeState)
    if state.ccFeature != _ENABLED:
        raise NotSupported(
            "The GPUs' confidential mode is off.",
            hint="The host switches it on before it hands the GPU to the TD.",
        )
    return bool(state.devToolsMode == _DEVTOOLS_ON)


def _entry(nvml: Nvml, index: int, nonce: bytes, devtools: bool) -> dict[str, Any]:
    def ask(what: str, function: Callable[..., T], *arguments: Any) -> T:
        return _call(nvml, f"GPU {index} gives no {what}", function, *arguments)

    handle = ask("handle", nvml.nvmlDeviceGetHandleByIndex, index)
    report = ask("report", nvml.nvmlDeviceGetConfComputeGpuAttestationReport, handle, list(nonce))
    chain = ask("certificate", nvml.nvmlDeviceGetConfComputeGpuCertificate, handle)
    signed = _filled(report.attestationReport, report.attestationReportSize, _MAX_REPORT, index)
    pem = _filled(chain.attestationCertChain, chain.attestationCertChainSize, _MAX_CHAIN, index)
    return {
        "index": index,
        "uuid": ask("UUID", nvml.nvmlDeviceGetUUID, handle),
        "name": ask("name", nvml.nvmlDeviceGetName, handle),
        "driver_version": ask("driver", nvml.nvmlSystemGetDriverVersion),
        "vbios_version": ask("VBIOS", nvml.nvmlDeviceGetVbiosVersion, handle),
        "attestation_report": base64.b64encode(signed).decode(),
        "certificate": base64.b64encode(pem.rstrip(b"\0")).decode(),
        "cc_enabled": True,
        "devtools": devtools,
    }


def _filled(array: Any, size: int, limit: int, index: int) -> bytes:
    """The used part of one of NVML's fixed arrays."""
    if not 0 < size <= min(limit, len(array)):
        raise NotSupported(f"GPU {index} gives a report or a chain of {size} bytes.")
    return bytes(array[:size])
