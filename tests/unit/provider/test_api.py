"""The HTTP API over a small library: shapes, errors, streaming, bounds."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI

from crag_core.attestation import sample
from crag_core.attestation.canonical import report_data
from crag_core.attestation.evidence import SampleSource
from crag_core.errors import IntegrityViolated, Unreachable
from crag_provider import service as service_module
from crag_provider.api.app import api, health
from crag_provider.rag.answering import Answerer
from crag_provider.rag.style import SMALL
from crag_provider.receipts import Provenance, ReceiptBook
from crag_provider.service import RagService
from support.library import Row, Shelf, library, speaking
from support.trustee import measurement

TOWN = Row(
    "The Lind bridge was opened in 1931 by Mayor Anna Lind. It is 420 metres long.", "镇 1.md", 2
)
WHO = "Who opened the Lind bridge?"
SAID = "Mayor Anna Lind opened the bridge. [1]"
CHAT = {"model": "small", "messages": [{"role": "user", "content": WHO}]}


def made(shelf: Shelf | None = None, parallel: int = 2, chain: Any = None) -> RagService:
    chain = chain or speaking("Mayor Anna Lind ", "opened the bridge.")
    return RagService(
        answerer=Answerer(library(shelf or Shelf([TOWN])), SMALL, chain),
        receipts=ReceiptBook(Provenance("11" * 32, "sample", "22" * 32)),
        source=SampleSource(measurement()),
        model_id="small",
        parallel=parallel,
        k=5,
    )


@asynccontextmanager
async def client(service: RagService) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=api(service), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as made_client:
        yield made_client


def call(
    do: Callable[[httpx.AsyncClient], Any], service: RagService | None = None
) -> httpx.Response:
    async def run() -> httpx.Response:
        async with client(service or made()) as http:
            reply: httpx.Response = await do(http)
            return reply

    return asyncio.run(run())


def error(reply: httpx.Response) -> dict[str, Any]:
    found: dict[str, Any] = reply.json()["error"]
    assert set(found) == {"message", "type", "param", "code"}
    return found


def test_a_question_is_answered_with_citations_and_receipt() -> None:
    reply = call(lambda http: http.post("/rag/query", json={"question": WHO, "k": 3}))
    body = reply.json()
    assert reply.status_code == 200
    assert set(body) == {
        *("question", "answer", "mode", "citations", "receipt", "timings_ms", "insecure")
    }
    assert (body["question"], body["answer"], body["mode"]) == (WHO, SAID, "model")
    assert body["citations"][0]["page"] == 2
    assert body["receipt"]["rows"] == [{"id": TOWN.chunk_id, "sha256": TOWN.row_sha256}]
    assert reply.headers["x-crag-evidence"] == "insecure"
    assert reply.headers["cache-control"] == "no-store"


def test_the_receipt_is_of_the_very_question_that_was_sent() -> None:
    asked = f"  {WHO}\n"
    body = call(lambda http: http.post("/rag/query", json={"question": asked})).json()
    assert body["receipt"]["question_sha256"] == hashlib.sha256(asked.encode()).hexdigest()
    assert body["receipt"]["answer_sha256"] == hashlib.sha256(SAID.encode()).hexdigest()


def test_a_receipt_can_be_asked_for_again() -> None:
    service = made()
    issued = call(lambda http: http.post("/rag/query", json={"question": WHO}), service).json()
    url = f"/rag/receipts/{issued['receipt']['id']}"
    assert call(lambda http: http.get(url), service).json() == issued["receipt"]
    missing = call(lambda http: http.get("/rag/receipts/nothing"), service)
    assert missing.status_code == 404 and error(missing)["code"] == "not-found"


def test_attestation_binds_the_nonce_and_the_receipt_key() -> None:
    service = made()
    shown = call(lambda http: http.get("/attestation?nonce=abcdefghijk"), service).json()
    assert shown["runtime_data"] == {"nonce": "abcdefghijk", "receipt_key": service.receipts.jwk}
    assert shown["tee"] == "sample" and shown["insecure"] is True
    text = shown["evidence"]
    evidence = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    sample.verify(evidence, report_data(shown["runtime_data"]))


@pytest.mark.parametrize("nonce", ["", "short", "with space in it", "x" * 200, "abcdefghij="])
def test_an_odd_nonce_is_refused(nonce: str) -> None:
    reply = call(lambda http: http.get("/attestation", params={"nonce": nonce}))
    assert reply.status_code == 400 and "nonce" in error(reply)["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"question": ""},
        {"question": "   "},
        {"question": "x" * 4001},
        {"question": 5},
        {"question": WHO, "k": 0},
        {"question": WHO, "k": 99},
        {"question": WHO, "secret-member-name": 1},
        {},
        [],
    ],
)
def test_a_bad_request_is_refused_without_repeating_it(body: Any) -> None:
    reply = call(lambda http: http.post("/rag/query", json=body))
    assert reply.status_code == 400
    assert error(reply)["type"] == "invalid_request_error"
    assert "xxxx" not in reply.text and WHO not in reply.text


def test_half_a_character_is_refused() -> None:
    raw = b'{"question": "\\ud800 what"}'
    headers = {"content-type": "application/json"}
    reply = call(lambda http: http.post("/rag/query", content=raw, headers=headers))
    assert reply.status_code == 400


def test_what_is_no_json_is_refused() -> None:
    headers = {"content-type": "application/json"}
    reply = call(lambda http: http.post("/rag/query", content=b"{what", headers=headers))
    assert reply.status_code == 400 and "what" not in error(reply)["message"]


def test_a_body_that_is_too_large_is_refused() -> None:
    reply = call(lambda http: http.post("/rag/query", json={"question": "x" * 300_000}))
    assert reply.status_code == 413 and error(reply)["code"] == "too-large"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/rag/query", 405),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", "/healthz", 404),
        ("GET", "/readyz", 404),
    ],
)
def test_what_is_not_there_has_the_shape_of_an_error(method: str, path: str, status: int) -> None:
    reply = call(lambda http: http.request(method, path))
    assert reply.status_code == status
    error(reply)


@pytest.mark.parametrize(
    ("failure", "status", "kind"),
    [
        (IntegrityViolated("The row 17 was changed."), 500, "integrity_error"),
        (Unreachable("The database does not answer."), 503, "overloaded_error"),
        (RuntimeError(f"it failed on {WHO}"), 500, "server_error"),
    ],
)
def test_a_failure_is_told_without_the_question(failure: Exception, status: int, kind: str) -> None:
    service = made(Shelf([TOWN], failure))
    reply = call(lambda http: http.post("/rag/query", json={"question": WHO}), service)
    assert reply.status_code == status
    assert error(reply)["type"] == kind
    assert WHO not in reply.text


def openai(service: RagService, do: Callable[[AsyncOpenAI], Any]) -> Any:
    async def run() -> Any:
        async with client(service) as http:
            made_client = AsyncOpenAI(
                api_key="none", base_url="http://api/v1", http_client=http, max_retries=0
            )
            return await do(made_client)

    return asyncio.run(run())


def test_openais_own_client_gets_a_completion_with_citations() -> None:
    done = openai(made(), lambda c: c.chat.completions.create(**CHAT))
    message = done.choices[0].message
    assert message.content == SAID and done.choices[0].finish_reason == "stop"
    found = message.annotations[0].url_citation
    assert SAID[found.start_index : found.end_index] == "[1]"
    assert (found.title, found.url) == ("镇 1.md", "crag:///%E9%95%87%201.md#page=2")
    assert done.crag["citations"][0]["text"] == TOWN.text
    assert done.crag["receipt"]["format"] == "crag/receipt/v1"


def test_openais_own_client_gets_a_stream() -> None:
    chain = speaking("Mayor Anna Lind opened it. The ", "bridge is 420 metres long.")

    async def read(c: AsyncOpenAI) -> list[Any]:
        return [chunk async for chunk in await c.chat.completions.create(**CHAT, stream=True)]

    chunks = openai(made(chain=chain), read)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices[0].delta.content]
    assert texts == ["Mayor Anna Lind opened it. [1]", " The bridge is 420 metres long. [1]"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert (
        chunks[-1].crag["receipt"]["answer_sha256"]
        == hashlib.sha256("".join(texts).encode()).hexdigest()
    )
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_that_fails_says_so() -> None:
    service = made(Shelf([TOWN], IntegrityViolated("The row 17 was changed.")))
    reply = call(
        lambda http: http.post("/v1/chat/completions", json={**CHAT, "stream": True}), service
    )
    events = [line[6:] for line in reply.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-2])["error"]["message"] == "The row 17 was changed."
    assert events[-1] == "[DONE]"


def test_openais_own_client_lists_the_model() -> None:
    listed = openai(made(), lambda c: c.models.list())
    assert [model.id for model in listed.data] == ["small"]


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"model": "gpt-4"}, 404),
        ({"messages": []}, 400),
        ({"messages": [{"role": "system", "content": "x"}]}, 400),
        ({"messages": [{"role": "user", "content": ""}]}, 400),
        ({"n": 2}, 400),
        ({"tools": [{"type": "function"}]}, 400),
        ({"response_format": {"type": "json_object"}}, 400),
    ],
)
def test_what_would_be_ignored_is_refused(change: dict[str, Any], status: int) -> None:
    reply = call(lambda http: http.post("/v1/chat/completions", json={**CHAT, **change}))
    assert reply.status_code == status
    error(reply)


def test_parts_of_text_are_a_question_and_sampling_has_no_effect() -> None:
    parts = [{"type": "text", "text": WHO}, {"type": "image_url", "image_url": {"url": "x"}}]
    body = {**CHAT, "messages": [{"role": "user", "content": parts}], "temperature": 2, "user": "u"}
    reply = call(lambda http: http.post("/v1/chat/completions", json=body))
    assert reply.json()["choices"][0]["message"]["content"] == SAID


def test_too_many_waiting_questions_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_module, "WAITING", 1)
    gate = asyncio.Event()

    class Slow(Answerer):
        async def stream(self, question: str, k: int) -> Any:
            await gate.wait()
            async for event in super().stream(question, k):
                yield event

    service = made(parallel=1)
    service._answerer = Slow(library(Shelf([TOWN])), SMALL, None)

    async def run() -> list[int]:
        async with client(service) as http:
            asked = [
                asyncio.create_task(http.post("/rag/query", json={"question": WHO}))
                for _ in range(4)
            ]
            done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            assert {task.result().status_code for task in done} == {503}
            gate.set()
            return sorted([(await task).status_code for task in asked])

    assert asyncio.run(run()) == [200, 200, 503, 503]


def test_a_draining_service_finishes_and_takes_nothing_new() -> None:
    service = made()
    assert service.drain(1) is True
    reply = call(lambda http: http.post("/rag/query", json={"question": WHO}), service)
    assert reply.status_code == 503 and "ending" in error(reply)["message"]


def test_health_is_an_application_of_its_own() -> None:
    wrong = ["The gateway ended."]

    async def run() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=health(lambda: wrong[0]))
        async with httpx.AsyncClient(transport=transport, base_url="http://health") as http:
            replies = [await http.get("/healthz"), await http.get("/readyz")]
            wrong[0] = ""
            return [*replies, await http.get("/readyz"), await http.get("/v1/models")]

    replies = asyncio.run(run())
    assert [reply.status_code for reply in replies] == [200, 503, 200, 404]
    assert replies[1].text == "The gateway ended.\n"
