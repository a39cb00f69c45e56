"""A TD of our own: evidence for any report data, on the forged platform of support.hardware."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crag_core.attestation.bundle import Bundle, export_bundle
from crag_core.attestation.measurement import Measurement
from support import logs
from support.fake_kernel import BOOT
from support.hardware import anchors, intel, nvidia
from support.trustee import Place, measurement, start


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Td:
    """An :class:`crag_core.attestation.evidence.EvidenceSource` of a TD.

    ``gpus``: how many GPUs are inside its evidence; ``separate``: how many come beside it.
    """

    workload: Measurement
    boot: tuple[logs.Event, ...] = tuple(BOOT)
    gpus: int = 0
    separate: int = 0
    attributes: int = 1 << 28
    mr_td: bytes = b"\x11" * 48
    text_log: bool = False

    @property
    def tee(self) -> str:
        return "tdx"

    def _lines(self) -> list[str]:
        return [
            f"crag {entry.name} sha256:{entry.content_digest.hex()}"
            for entry in self.workload.entries
        ]

    def quote(self, report_data: bytes) -> tuple[bytes, dict[str, Any]]:
        """The quote, and the logs that replay to it."""
        if self.text_log:
            text, rtmr3 = logs.text_log(self._lines())
            registers = (*logs.rtmrs(self.boot)[:3], rtmr3)
            found = {"cc_eventlog": b64(logs.ccel(self.boot)), "aa_eventlog": text.decode()}
        else:
            events = [*self.boot, *(logs.aael(line) for line in self._lines())]
            registers = logs.rtmrs(events)
            found = {"cc_eventlog": b64(logs.ccel(events))}
        made = intel().quote(
            report_data=report_data,
            rtmrs=registers,
            mr_td=self.mr_td,
            attributes=self.attributes,
        )
        return made, found

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        quote, found = self.quote(report_data)
        nonce = report_data.ljust(64, b"\0")[:32]
        gpus = {"evidence_list": [gpu(nonce)] * self.gpus} if self.gpus else None
        return {"quote": b64(quote), **found, "gpu_evidence": gpus}

    def additional(self, report_data: bytes) -> dict[str, Any] | None:
        if not self.separate or not report_data:
            return None
        found = gpu(report_data[:32])
        entry = {
            "arch": "HOPPER",
            "uuid": "unknown",
            "evidence": found["attestation_report"],
            "certificate": found["certificate"],
        }
        return {"nvidia": {"device_evidence_list": [entry] * self.separate}}

    def references(self) -> dict[str, list[str]]:
        """What a Trustee must know to affirm this TD and its GPU."""
        rtmrs = logs.rtmrs(self.boot)
        return {
            **self.workload.reference_values(),
            "tdx.mr_td": [self.mr_td.hex()],
            "tdx.mr_seam": ["00" * 48],
            **{f"tdx.rtmr_{index}": [rtmrs[index].hex()] for index in range(3)},
            "nvidia.vbios": ["96.00.74.00.1A"],
            "nvidia.driver": ["580.95.05"],
        }


def gpu(nonce: bytes) -> dict[str, Any]:
    """The fork's entry of a genuine GPU that answers to ``nonce``."""
    return {
        "index": 0,
        "attestation_report": b64(nvidia().report(nonce)),
        "certificate": b64(nvidia().chain),
        "cc_enabled": True,
        "devtools": False,
    }


def td(**changes: Any) -> Td:
    return Td(measurement(), **changes)


def place(folder: Path, *, bundle: bytes | None = b"", **settings: Any) -> Place:
    """A running Trustee that trusts the forged platform and has collateral for it.

    ``bundle``: another bundle than a fresh one; None for none.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    settings = {"accept_sample": False, "anchors": anchors(), **settings}
    made = start(folder, **settings)
    key = Ed25519PrivateKey.generate()
    now = int(time.time())
    if bundle == b"":
        bundle = export_bundle(Bundle(now, (intel().collateral(at=now - 60),)), key)
    if bundle is not None:
        store = folder / "collateral"
        store.mkdir(mode=0o700)
        (store / "bundle.json").write_bytes(bundle)
        public = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )
        (store / "trusted-keys").write_text(public.hex())
    return made
