"""``POST /rag/query``, ``GET /rag/receipts/{id}`` and ``GET /attestation``."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from crag_core.errors import BadInput
from crag_provider.api import errors
from crag_provider.service import RagService
from crag_provider.settings import MAX_K

MAX_QUESTION = 4000
_NONCE = re.compile(r"[A-Za-z0-9_-]{11,128}")


class RagQuery(BaseModel):
    """A question, and how many passages to look at."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    question: str = Field(min_length=1, max_length=MAX_QUESTION)
    k: int | None = Field(default=None, ge=1, le=MAX_K)


def asked(text: str) -> str:
    """``text`` as it stands, where it is a question: receipts hash exactly what was sent.

    Raises:
        BadInput: nothing is asked, or it is too long or not well-formed text.
    """
    if not text.strip() or len(text) > MAX_QUESTION:
        raise BadInput(f"A question has 1 to {MAX_QUESTION} characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput("The question is not well-formed Unicode.") from None
    return text


def rag_routes(service: RagService) -> APIRouter:
    """The routes over ``service``."""
    router = APIRouter()

    @router.post("/rag/query")
    async def query(request: RagQuery) -> dict[str, Any]:
        return (await service.answer(asked(request.question), request.k)).as_json()

    @router.get("/rag/receipts/{receipt_id}")
    async def receipt(receipt_id: str) -> JSONResponse:
        found = service.receipts.find(receipt_id)
        if found is None:
            missing = errors.body(
                "No receipt has that id, or it is no longer remembered.",
                "invalid_request_error",
                "not-found",
            )
            return JSONResponse(missing, 404)
        return JSONResponse(found)

    @router.get("/attestation")
    def attestation(nonce: str = Query()) -> dict[str, Any]:
        if not _NONCE.fullmatch(nonce):
            raise BadInput("The nonce must be 8 to 96 bytes as base64url without padding.")
        made = service.attestation(nonce)
        evidence = json.dumps(made["evidence"], separators=(",", ":")).encode()
        return {**made, "evidence": base64.urlsafe_b64encode(evidence).rstrip(b"=").decode()}

    return router
