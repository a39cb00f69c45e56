"""The user's whole world on one machine: local Trustee, attester, egress, and an answering service.

Receipts and evidence are the real ones; what the service says can be bent by a test.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from crag_core.attestation.canonical import report_data
from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.measurement import Measurement
from crag_core.attestation.server import AttesterServer
from crag_core.gateway.config import EgressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import Tng, start_on_free_ports
from crag_provider.receipts import Provenance, ReceiptBook, SnapshotRef
from support.small_as import Http, b64url
from support.trustee import Place, measurement, start

Bend = Callable[[dict[str, Any]], dict[str, Any]]
CITATION = {"n": 1, "source": "转型.md", "page": 2, "text": "文化是最大的挑战。", "score": 0.91}


class RagService(Http):
    """Answers ``POST /rag/query`` and ``GET /attestation`` as the provider does."""

    def __init__(self, measured: Measurement) -> None:
        super().__init__()
        self.measured = measured
        self.source = SampleSource(measured)
        self.book = ReceiptBook(Provenance("", "sample", measured.register().hex()))
        self.questions: list[str] = []
        self.bend_reply: Bend = lambda reply: reply
        self.bend_attestation: Bend = lambda shown: shown
        self.status = 200

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        split = urlsplit(path)
        if method == "OPTIONS":
            return 405, "application/json", b"{}"
        if split.path == "/rag/query":
            document = self.bend_reply(self._reply(json.loads(body)["question"]))
        elif split.path == "/attestation":
            nonce = parse_qs(split.query)["nonce"][0]
            document = self.bend_attestation(self.attestation(nonce))
        else:
            return 404, "application/json", b'{"error":{"message":"nothing here","code":"x"}}'
        return self.status, "application/json", json.dumps(document).encode()

    def _reply(self, question: str) -> dict[str, Any]:
        self.questions.append(question)
        answer = "最大的挑战是文化 [1]。"
        receipt = self.book.issue(
            question=question,
            answer=answer,
            citations=[CITATION],
            rows=[("row", "ab" * 32)],
            snapshot=SnapshotRef("s", 1, "cd" * 32),
        )
        return {
            "question": question,
            "answer": answer,
            "mode": "model",
            "citations": [CITATION],
            "receipt": receipt,
            "timings_ms": {"search": 1.5},
            "insecure": True,
        }

    def attestation(self, nonce: str, key: dict[str, str] | None = None) -> dict[str, Any]:
        runtime_data = {"nonce": nonce, "receipt_key": key or self.book.jwk}
        evidence = self.source.evidence(report_data(runtime_data))
        return {
            "tee": "sample",
            "evidence": b64url(json.dumps(evidence).encode()),
            "runtime_data": runtime_data,
            "insecure": True,
        }


@dataclass
class Rag:
    """A running service behind a real egress, and the user's Trustee."""

    place: Place
    service: RagService
    egress: Tng[EgressConfig]
    measured: Measurement

    @property
    def url(self) -> str:
        return self.egress.config.listen.url

    def trusted(self) -> list[str]:
        """Options that trust the Trustee of this world."""
        certificate = str(self.place.trustee.identity.ca_path)
        return ["--trustee", self.place.url, "--trustee-certificate", certificate]


@contextlib.contextmanager
def rag(folder: Path, *, accept_sample: bool = True, known: bool = True) -> Iterator[Rag]:
    """A running :class:`Rag`.

    Args:
        accept_sample: whether the Trustee accepts sample evidence.
        known: whether the service's measurement is among the Trustee's reference values.
    """
    measured = measurement()
    place = start(folder / "trustee", accept_sample=accept_sample)
    try:
        if known:
            place.allow(measured)
        with AttesterServer(SampleSource(measured)) as attester, RagService(measured) as service:
            egress = start_on_free_ports(
                lambda: EgressConfig(
                    listen=free_endpoint(),
                    backend=Endpoint("127.0.0.1", service.port),
                    attester_url=attester.url,
                    control=free_endpoint(),
                )
            )
            try:
                yield Rag(place, service, egress, measured)
            finally:
                egress.stop()
    finally:
        place.trustee.stop()
