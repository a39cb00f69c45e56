"""Which evidence this service has: the machine's TEE, or software's word where that is asked for.

The order of ``--evidence auto`` is: the kernel's interfaces of a TD, an attestation agent, and
sample evidence only with the flag that names it insecure. Hardware comes first even then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crag_core.errors import NotSupported
from crag_provider.settings import ProviderSettings

if TYPE_CHECKING:
    from crag_core.attestation.evidence import MeasuringSource
    from crag_core.attestation.measurement import Measurement
    from crag_core.attestation.nvml import GpuCollector
    from crag_core.attestation.own_events import OwnEvents

    Gpus = Callable[[bytes], Mapping[str, Any] | None]

CONFIGFS = ("kernel", "config", "tsm", "report")
RTMR3 = ("devices", "virtual", "misc", "tdx_guest", "measurements", "rtmr3:sha384")
CCEL = ("firmware", "acpi", "tables", "data", "CCEL")
_NO_GPU = "Take --gpu-evidence none or if-present only where answers need no GPU that is attested."


@dataclass(frozen=True)
class Chosen:
    """A source of evidence and what it is: ``tdx``, ``agent`` or ``sample``."""

    kind: str
    source: MeasuringSource


def evidence_source(
    settings: ProviderSettings,
    measurement: Measurement,
    say: Callable[[str], None] = lambda _text: None,
    collector: GpuCollector | None = None,
) -> Chosen:
    """The source that ``settings`` ask for; nothing is measured yet.

    Args:
        collector: asks the GPUs; NVML where None is given.

    Raises:
        NotSupported: this machine has no such evidence, or a GPU's is required and there is none.
        Unreachable: the agent that is asked for does not answer.
    """
    from crag_core.attestation.evidence import SampleSource
    from crag_core.attestation.own_events import OwnEvents

    own = OwnEvents.of(measurement)
    why = ""
    if settings.evidence in ("auto", "tdx") and settings.key_source != "cdh":
        why = _lacking_tdx(settings)
        if not why:
            logged = OwnEvents.of(measurement, text=settings.event_log == "text")
            return Chosen("tdx", _tdx(settings, logged, say, collector))
        if settings.evidence == "tdx":
            raise NotSupported(why, hint="Run this as root inside an Intel TDX guest.")
    if settings.evidence in ("auto", "agent"):
        agent = _agent(settings, own, say, collector)
        if agent is not None:
            return Chosen("agent", agent)
    if settings.insecure_sample_evidence:
        if settings.gpu_evidence == "require":
            raise NotSupported(
                "GPU evidence is required, and software-made evidence has none.", hint=_NO_GPU
            )
        return Chosen("sample", SampleSource(measurement))
    raise NotSupported(
        f"This machine has no TEE that crag takes evidence from. {why}".rstrip(),
        hint="To try crag without one, add --insecure-sample-evidence: everybody who verifies "
        "will see that nothing vouches for such evidence.",
    )


def _lacking_tdx(settings: ProviderSettings) -> str:
    """Why the kernel's interfaces cannot be used, in words; empty where they can."""
    from crag_core.attestation.rtmr import RuntimeRegister
    from crag_core.attestation.tsm import PROVIDER, TsmReports

    reports = TsmReports(settings.sys_root.joinpath(*CONFIGFS))
    provider = reports.provider()
    if provider != PROVIDER:
        found = f"has the provider {provider[:32]!r}" if provider else "gives no entry"
        return f"{reports.root} {found}, not {PROVIDER!r}."
    register = RuntimeRegister(settings.sys_root.joinpath(*RTMR3))
    if settings.evidence == "auto" and not register.available():
        return f"{register.path} is not there: extending it needs Linux 6.16 or an agent."
    return ""


def _tdx(
    settings: ProviderSettings,
    own: OwnEvents,
    say: Callable[[str], None],
    collector: GpuCollector | None,
) -> MeasuringSource:
    from crag_core.attestation.rtmr import RuntimeRegister
    from crag_core.attestation.tdx_evidence import TdxSource
    from crag_core.attestation.tsm import TsmReports

    collecting, why = _collector(settings, collector)
    if why:
        if settings.gpu_evidence == "require":
            raise NotSupported(f"GPU evidence is required: {why}", hint=_NO_GPU)
        say(f"no GPU evidence: {why}")
    return TdxSource(
        TsmReports(settings.sys_root.joinpath(*CONFIGFS)),
        ccel=settings.sys_root.joinpath(*CCEL),
        gpus=collecting,
        own=own,
        runtime=RuntimeRegister(settings.sys_root.joinpath(*RTMR3)),
    )


def _agent(
    settings: ProviderSettings,
    own: OwnEvents,
    say: Callable[[str], None],
    collector: GpuCollector | None,
) -> MeasuringSource | None:
    """The agent's source; None where none answers and none is asked for."""
    from crag_core.attestation.agent import AgentSource

    asked = settings.evidence == "agent"
    if not asked and not AgentSource(own, settings.agent_url).answers():
        return None
    gpus, why = _collector(settings, collector)
    source = AgentSource(
        own,
        settings.agent_url,
        gpus=(lambda _nonce: None) if settings.gpu_evidence == "none" else gpus,
    )
    if settings.gpu_evidence == "require" and gpus is None:
        probe = bytes(47) + b"\x01"
        if not source.evidence(probe).get("gpu_evidence") and not source.additional(probe):
            raise NotSupported(
                f"GPU evidence is required, and the attestation agent gives none: {why}",
                hint=_NO_GPU,
            )
    elif why:
        say(f"GPU evidence is the agent's: {why}")
    return source


def _collector(
    settings: ProviderSettings, collector: GpuCollector | None
) -> tuple[Gpus | None, str]:
    """What asks the GPUs, or None and why not."""
    if settings.gpu_evidence == "none":
        return None, ""
    from crag_core.attestation.nvml import GpuCollector

    collector = collector or GpuCollector()
    why = collector.lacking()
    return (None, why) if why else (collector, "")
