"""Measure what this service is: software, model, configuration."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crag_core.errors import NotSupported
from crag_provider.data_hub import PROGRAM, hub_program
from crag_provider.model.mount import fuse_missing
from crag_provider.settings import ProviderSettings

if TYPE_CHECKING:
    from crag_core.attestation.measurement import Measurement

# Variables by which code gets into a process, or other code than the measured one is imported.
_LOADING = (
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "PYTHONHOME",
    "PYTHONINSPECT",
    "PYTHONPATH",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PYTHONSTARTUP",
    "PYTHONWARNINGS",
    "SSLKEYLOGFILE",
)
_STARTUP = ("sitecustomize", "usercustomize")


def programs(settings: ProviderSettings) -> dict[str, Path]:
    """The programs that the service starts beside Python, name to path.

    Raises:
        NotSupported: the gateway's or the data hub's program is missing.
    """
    from crag_core.gateway.binary import find_tng

    found = {"tng": find_tng()}
    if settings.needs_model and settings.model_access != "memory" and not fuse_missing():
        located = shutil.which("gocryptfs")
        if located:
            found["gocryptfs"] = Path(located)
    if settings.key_source == "cdh":
        hub = hub_program(settings.cdh_config)
        if hub is not None:
            found[PROGRAM] = hub
    return found


def process() -> dict[str, Any]:
    """What could run in this process beside the measured packages: ``variables`` that load code or
    redirect imports (name to SHA-256 of the value, empty as a rule), and Python's ``startup``
    modules (name to SHA-256 of the file).

    Raises:
        NotSupported: a startup module is no readable file.
    """
    set_here = {name: os.environ[name] for name in _LOADING if os.environ.get(name)}
    found = {name: importlib.util.find_spec(name) for name in _STARTUP}
    return {
        "variables": {name: _sha256(value.encode()) for name, value in set_here.items()},
        "startup": {name: _file(spec.origin) for name, spec in found.items() if spec is not None},
    }


def _file(origin: str | None) -> str:
    try:
        return _sha256(Path(origin or "").read_bytes())
    except OSError:
        raise NotSupported(
            "A startup module of Python (sitecustomize) cannot be read, so what it does cannot be "
            "measured.",
            hint="Remove it from this environment.",
        ) from None


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def measure(
    settings: ProviderSettings, say: Callable[[str], None] = lambda _text: None
) -> Measurement:
    """The measurement of the service that ``settings`` describe, on this machine, now.

    Raises:
        BadInput: the model's folder cannot be measured.
        NotSupported: a program or package cannot be read.
        IntegrityViolated: cached bytecode differs from its source.
    """
    from crag_core.attestation.installed import software
    from crag_core.attestation.measurement import Event, Measurement, configuration, model

    say("measuring the installed software")
    events = [Event("software", software(programs(settings)))]
    if settings.volume is not None:
        say("measuring the encrypted model")
        events.append(Event("model", model(settings.volume)))
    settled = {**settings.measured(), "process": process()}
    events.append(Event("configuration", configuration(settled)))
    return Measurement(events)
