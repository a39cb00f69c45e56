"""``GET /v1/models`` and ``POST /v1/chat/completions``: RAG behind OpenAI's API.

The last user message is the question; earlier ones are not looked at, and sampling parameters have
no effect. Citations come as ``annotations`` and, whole, in the member ``crag``.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from crag_core.errors import BadInput, CragError
from crag_provider.api import errors
from crag_provider.api.rag_routes import asked
from crag_provider.service import Answered, RagService

_UNSUPPORTED = ("tools", "functions", "tool_choice", "function_call", "audio", "response_format")


class ChatMessage(BaseModel):
    """One message; content is text, or a list of parts of which the text ones count."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    role: str
    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """The message's text."""
        if isinstance(self.content, list):
            parts = [part.get("text") for part in self.content if part.get("type") == "text"]
            return "\n".join(part for part in parts if isinstance(part, str))
        return self.content or ""


class ChatRequest(BaseModel):
    """A chat completion request; members without effect here are accepted."""

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True)

    model: str
    messages: list[ChatMessage] = Field(min_length=1, max_length=256)
    stream: bool = False
    n: int | None = None

    def question(self) -> str:
        """What the last user message asks.

        Raises:
            BadInput: there is none.
        """
        for message in reversed(self.messages):
            if message.role == "user":
                return asked(message.text())
        raise BadInput("No message has the role user.")

    def require_supported(self) -> None:
        """Refuse what would be silently ignored though it changes the meaning.

        Raises:
            BadInput: tools, several choices, or a response format.
        """
        extra = self.model_extra or {}
        for name in _UNSUPPORTED:
            if extra.get(name) not in (None, [], "none", "auto", {"type": "text"}):
                raise BadInput(f"The parameter {name} is not supported here.")
        if self.n not in (None, 1):
            raise BadInput("Only one choice is made: n must be 1.")


def openai_routes(service: RagService) -> APIRouter:
    """The routes over ``service``."""
    router = APIRouter(prefix="/v1")

    @router.get("/models")
    async def models() -> dict[str, Any]:
        model = {
            "id": service.model_id,
            "object": "model",
            "created": service.started,
            "owned_by": "crag",
        }
        return {"object": "list", "data": [model]}

    @router.post("/chat/completions", response_model=None)
    async def chat(request: ChatRequest) -> JSONResponse | StreamingResponse:
        if request.model != service.model_id:
            missing = errors.body(
                "There is no such model here; GET /v1/models names the one there is.",
                "invalid_request_error",
                "model_not_found",
                "model",
            )
            return JSONResponse(missing, 404)
        request.require_supported()
        question = request.question()
        if request.stream:
            return StreamingResponse(
                _events(service, question),
                media_type="text/event-stream",
                headers={"x-accel-buffering": "no"},
            )
        done = await service.answer(question, None)
        message = {
            "role": "assistant",
            "content": done.answer.text,
            "refusal": None,
            "annotations": url_citations(done),
        }
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
        return JSONResponse(
            {**_head(service, "chat.completion"), "choices": [choice], "crag": _crag(done)}
        )

    return router


def url_citations(done: Answered) -> list[dict[str, Any]]:
    """OpenAI's ``url_citation`` annotations: one for each ``[n]`` in the answer's text."""
    text = done.answer.text
    found = []
    for citation in done.answer.citations:
        mark = f"[{citation.n}]"
        at = text.find(mark)
        while at >= 0:
            page = f"#page={citation.page}" if citation.page is not None else ""
            target = {
                "start_index": at,
                "end_index": at + len(mark),
                "title": citation.source,
                "url": f"crag:///{quote(citation.source)}{page}",
            }
            found.append({"type": "url_citation", "url_citation": target})
            at = text.find(mark, at + 1)
    return sorted(found, key=lambda one: int(one["url_citation"]["start_index"]))


def _crag(done: Answered) -> dict[str, Any]:
    whole = done.as_json()
    return {
        name: whole[name] for name in ("mode", "citations", "receipt", "timings_ms", "insecure")
    }


def _head(service: RagService, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": service.model_id,
    }


async def _events(service: RagService, question: str) -> AsyncIterator[str]:
    head = _head(service, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], end: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": end}
        return _event({**head, "choices": [choice], **more})

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for event in service.stream(question, None):
            if isinstance(event, Answered):
                yield chunk({"annotations": url_citations(event)}, "stop", crag=_crag(event))
            else:
                yield chunk({"content": event.text})
    except CragError as error:
        yield _event(errors.of(error)[1])
    except Exception as error:  # noqa: BLE001 - the reader must learn that the answer is cut
        yield _event(errors.defect(error))
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"
