"""The service behind the API: answers with receipts, a bounded number at a time, until drained."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from crag_core.attestation.canonical import report_data
from crag_core.attestation.evidence import INSECURE_TEES, EvidenceSource
from crag_core.errors import Unreachable
from crag_provider.rag.answering import Answer, Answerer, Piece
from crag_provider.receipts import ReceiptBook

WAITING = 64


@dataclass(frozen=True)
class Answered:
    """An answer and its receipt."""

    answer: Answer
    receipt: dict[str, Any]
    insecure: bool

    def as_json(self) -> dict[str, Any]:
        """The body of ``POST /rag/query``."""
        return {
            "question": self.answer.question,
            "answer": self.answer.text,
            "mode": self.answer.mode,
            "citations": [citation.as_json() for citation in self.answer.citations],
            "receipt": self.receipt,
            "timings_ms": self.answer.timings_ms,
            "insecure": self.insecure,
        }


class RagService:
    """What the API does, without HTTP.

    Args:
        parallel: answers made at a time; up to 64 more wait.
        k: passages per question where the caller names no number.
    """

    def __init__(
        self,
        *,
        answerer: Answerer,
        receipts: ReceiptBook,
        source: EvidenceSource,
        model_id: str,
        parallel: int,
        k: int,
    ) -> None:
        self.receipts = receipts
        self.model_id = model_id
        self.k = k
        self.started = int(time.time())
        self._answerer = answerer
        self._source = source
        self._slots = asyncio.Semaphore(parallel)
        self._room = parallel + WAITING
        self._busy = 0
        self._draining = False
        self._idle = threading.Condition()

    @property
    def insecure(self) -> bool:
        """Whether the evidence is made by software."""
        return self._source.tee in INSECURE_TEES

    async def answer(self, question: str, k: int | None) -> Answered:
        """The whole answer to ``question`` with its receipt.

        Raises:
            Unreachable: too many questions wait, or the service is ending.
            CragError: the search or the model failed.
        """
        async for event in self.stream(question, k):
            if isinstance(event, Answered):
                return event
        raise RuntimeError("a stream ends with the answer")

    async def stream(self, question: str, k: int | None) -> AsyncIterator[Piece | Answered]:
        """The answer's pieces, and the whole with its receipt at the end."""
        async with self._slot():
            async for event in self._answerer.stream(question, k or self.k):
                if isinstance(event, Answer):
                    yield Answered(event, self._receipt(event), self.insecure)
                else:
                    yield event

    def _receipt(self, answer: Answer) -> dict[str, Any]:
        return self.receipts.issue(
            question=answer.question,
            answer=answer.text,
            citations=[citation.as_json() for citation in answer.citations],
            rows=[(passage.row_id, passage.row_sha256) for passage in answer.passages],
            snapshot=answer.snapshot,
        )

    def attestation(self, nonce: str) -> dict[str, Any]:
        """Fresh evidence that binds ``nonce`` and the receipts' key; see ``GET /attestation``."""
        runtime_data = {"nonce": nonce, "receipt_key": self.receipts.jwk}
        return {
            "tee": self._source.tee,
            "evidence": self._source.evidence(report_data(runtime_data)),
            "runtime_data": runtime_data,
            "insecure": self.insecure,
        }

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        with self._idle:
            if self._draining or self._busy >= self._room:
                raise Unreachable(
                    "The service is ending."
                    if self._draining
                    else "Too many questions wait for an answer.",
                    hint="Ask again in a moment.",
                )
            self._busy += 1
        try:
            async with self._slots:
                yield
        finally:
            with self._idle:
                self._busy -= 1
                self._idle.notify_all()

    def drain(self, seconds: float) -> bool:
        """Refuse new questions and wait for those being answered; whether all ended in time."""
        with self._idle:
            self._draining = True
            return self._idle.wait_for(lambda: self._busy == 0, seconds)
