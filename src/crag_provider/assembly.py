"""Put the parts of the service together: answerer, receipts, API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from crag_core.attestation.evidence import MeasuringSource
from crag_core.attestation.measurement import Measurement
from crag_provider.api.app import api, health
from crag_provider.api.server import LoopbackServer
from crag_provider.llm.interface import LlmEndpoint
from crag_provider.rag.answering import Answerer
from crag_provider.rag.chain import answer_chain
from crag_provider.rag.passages import Library
from crag_provider.receipts import Provenance, ReceiptBook
from crag_provider.service import RagService
from crag_provider.settings import ProviderSettings

EXTRACTIVE = "crag-extractive"


@dataclass(frozen=True)
class Parts:
    """The service, and the server of its API (not started)."""

    service: RagService
    server: LoopbackServer

    def health(self, failed: Callable[[], str]) -> LoopbackServer:
        """The server of ``/healthz`` and ``/readyz`` (not started)."""
        return LoopbackServer(health(failed), "health server")


def assemble(
    settings: ProviderSettings,
    measurement: Measurement,
    source: MeasuringSource,
    llm: LlmEndpoint | None,
    library: Library,
) -> Parts:
    """The service that ``settings`` describe, over parts that are up."""
    style = settings.style
    digests = {event.name: event.digest.hex() for event in measurement.events}
    receipts = ReceiptBook(
        Provenance(digests.get("model", ""), source.tee, source.register),
        current=lambda: source.register,
    )
    service = RagService(
        answerer=Answerer(library, style, answer_chain(llm, style) if llm else None),
        receipts=receipts,
        source=source,
        model_id=llm.model if llm else EXTRACTIVE,
        parallel=settings.llm_parallel,
        k=settings.k,
    )
    return Parts(service, LoopbackServer(api(service), "API"))
