"""The provider runs software other than the measured one, and asks for the owner's key."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import crag_core
from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.measurement import Event, Measurement
from crag_core.errors import AttestationRejected, PolicyDenied
from crag_core.trustee.kbs import KbsClient
from support import trustee
from support.trustee import RESOURCE, SECRET, Place

# What lies beside crag is left out: the attack is on crag, and this keeps the test short.
_MEASURE = """
import json
from crag_core.attestation import installed
installed.OWN, installed._dependencies = ("crag-core",), list
print(json.dumps(installed.software()["distributions"]))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """crag as somebody else installed it: the same files in another place."""
    target = tmp_path / "site" / "crag_core"
    source = Path(crag_core.__file__).parent
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    running = trustee.start(tmp_path / "trustee")
    yield running
    running.trustee.stop()


def _measured(copy: Path) -> Measurement:
    done = subprocess.run(
        [sys.executable, "-B", "-c", _MEASURE],
        env={"PYTHONPATH": str(copy.parent)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    events = trustee.measurement().events
    return Measurement([Event("software", json.loads(done.stdout)), *events[1:]])


def _ask(place: Place, measurement: Measurement) -> bytes:
    with KbsClient(place.url, SampleSource(measurement)) as client:
        return client.fetch(f"kbs:///{RESOURCE}")


def _append(copy: Path) -> None:
    path = copy / "sealing.py"
    path.write_text(path.read_text() + "\n# harmless\n")


def _shadow(copy: Path) -> None:
    # An extension module is imported before the source of the same name.
    (copy / f"sealing{_extension()}").write_bytes(b"\x7fELF")


def _extension() -> str:
    from importlib.machinery import EXTENSION_SUFFIXES

    return EXTENSION_SUFFIXES[0]


def _drop(copy: Path) -> None:
    (copy / "sethash.py").unlink()


@pytest.mark.parametrize("attack", [_append, _shadow, _drop])
def test_the_key_goes_to_the_measured_software_and_not_to_the_changed_one(
    place: Place, copy: Path, attack: Callable[[Path], None]
) -> None:
    honest = _measured(copy)
    place.allow(honest)
    assert _ask(place, honest) == SECRET
    attack(copy)
    changed = _measured(copy)
    with pytest.raises((PolicyDenied, AttestationRejected)):
        _ask(place, changed)
