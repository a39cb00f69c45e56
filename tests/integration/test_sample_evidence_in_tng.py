"""The real TNG's own sample verifier reads our evidence, its event log included."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.measurement import Event, Measurement
from crag_core.attestation.server import AttesterServer
from crag_core.gateway.binary import find_tng
from support.poll import until

MEASURED = Measurement(
    [
        Event("software", {"format": "crag/software/v1"}),
        Event("model", {"format": "crag/model/v1"}),
        Event("configuration", {"format": "crag/configuration/v1", "settings": {"k": 5}}),
    ]
)
OTHER = Measurement([Event("software", {"format": "other"}), *MEASURED.events[1:]])

# The policy of docs/reference/measurement.md for a Trustee that is not ours.
POLICY = """
package policy
import rego.v1
default executables := 33
default hardware := 97
default configuration := 36
default file_system := 35

logged(name) := [digest.digest |
    some entry in input.sample.cc_eventlog.uefi_event_logs
    entry.index == 1
    entry.details.data.domain == "crag"
    entry.details.data.operation == name
    some digest in entry.digests
]

known(name) if {
    digests := logged(name)
    count(digests) == 1
    digests[0] in query_reference_value(concat("", ["crag.", name, ".event"]))
}

hardware := 2 if input.sample.svn == "1"
executables := 3 if known("software")
file_system := 2 if known("model")
configuration := 2 if known("configuration")
"""


class Forged(SampleSource):
    """Claims the register and the digests of one measurement with the log of another."""

    def __init__(self, measurement: Measurement, member: str, value: str) -> None:
        super().__init__(measurement)
        self._forged = {member: value}

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        return super().evidence(report_data) | self._forged


def _encoded(log: bytes) -> str:
    return base64.b64encode(log).decode()


def _retold() -> bytes:
    """A log whose digests are of other software, and whose text claims the known one."""
    old, new = (m.entries[0].content_digest.hex().encode() for m in (OTHER, MEASURED))
    log = OTHER.eventlog()
    assert old in log
    return log.replace(old, new)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _egress(attester: str) -> Iterator[str]:
    port = _free_port()
    config = {
        "add_egress": [
            {
                "mapping": {
                    "in": {"host": "127.0.0.1", "port": port},
                    "out": {"host": "127.0.0.1", "port": _free_port()},
                },
                "ohttp": {"key": {"source": "self_generated", "rotation_interval": 300}},
                "attest": {"aa_provider": "coco_asr", "asr_addr": attester},
            }
        ]
    }
    process = subprocess.Popen(
        [str(find_tng()), "launch", "--config-content", json.dumps(config)],
        env={"NO_COLOR": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listening() -> bool:
        assert process.poll() is None, "tng ended"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listening, 20, "the egress")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


def _appraise(source: SampleSource, tmp_path: Path) -> tuple[int, str, dict[str, Any]]:
    """What TNG says of ``source`` when it knows :data:`MEASURED`: exit, output, claims."""
    verify = {
        "model": "background_check",
        "as_provider": "coco",
        "as_type": "builtin",
        "attestation_policy": {"type": "inline", "content": _encoded(POLICY.encode())},
        "reference_values": [
            {
                "type": "sample",
                "payload": {"type": "inline", "content": MEASURED.event_reference_values()},
            }
        ],
    }
    with AttesterServer(source) as attester, _egress(attester.url) as endpoint:
        done = subprocess.run(
            [
                *(str(find_tng()), "tools", "ohttp", "dump", "--endpoint", endpoint),
                *("--verify", json.dumps(verify), "--out-dir", str(tmp_path)),
            ],
            env={"NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    claims = tmp_path / "attestation_result.claims.json"
    return (
        done.returncode,
        done.stdout + done.stderr,
        json.loads(claims.read_text()) if claims.is_file() else {},
    )


def test_tng_accepts_what_it_knows_and_reads_every_event(tmp_path: Path) -> None:
    code, output, claims = _appraise(SampleSource(MEASURED), tmp_path)
    assert code == 0, output
    evidence = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["sample"]
    assert evidence["measure_register"] == MEASURED.register().hex()
    events = evidence["cc_eventlog"]["uefi_event_logs"]
    assert [event["details"]["data"] for event in events] == [
        {
            "domain": "crag",
            "operation": entry.name,
            "content": f"sha256:{entry.content_digest.hex()}",
        }
        for entry in MEASURED.entries
    ]
    assert [event["digests"][0]["digest"] for event in events] == [
        entry.digest().hex() for entry in MEASURED.entries
    ]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (SampleSource(OTHER), "executables"),
        (Forged(MEASURED, "measure_register", OTHER.register().hex()), "does not pass RTMR [1]"),
        (Forged(MEASURED, "cc_eventlog", _encoded(OTHER.eventlog())), "does not pass RTMR [1]"),
        (Forged(MEASURED, "cc_eventlog", _encoded(MEASURED.eventlog()[:-40])), "out of range"),
        (Forged(OTHER, "cc_eventlog", _encoded(_retold())), "executables"),
    ],
    ids=["other-software", "other-register", "other-log", "cut-log", "retold-log"],
)
def test_tng_refuses_what_it_does_not_know_or_what_does_not_replay(
    source: SampleSource, reason: str, tmp_path: Path
) -> None:
    code, output, _ = _appraise(source, tmp_path)
    assert code != 0
    assert reason in output
