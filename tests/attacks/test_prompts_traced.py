"""The environment asks the libraries to trace, log, or redirect prompts to somebody else."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

QUESTION = "What is the SECRETQUESTION?"
PASSAGE = "The SECRETPASSAGE is blue."
SAID = "It is blue."

_SCRIPT = """
import asyncio, sys
if sys.argv[2] == "guarded":
    from crag_provider.api.server import silence
    from crag_provider.rag.chain import forbid_tracing
    forbid_tracing()
    silence()
from crag_provider.llm.interface import LlmEndpoint
from crag_provider.rag.chain import answer_chain
from crag_provider.rag.style import SMALL
from langchain_core.tracers.langchain import wait_for_all_tracers
chain = answer_chain(LlmEndpoint(sys.argv[1], "m", "k"), SMALL)
async def ask():
    given = {"question": sys.argv[3], "context": sys.argv[4]}
    return "".join([part async for part in chain.astream(given)])
print(asyncio.run(ask()))
wait_for_all_tracers()
"""


class Server(http.server.ThreadingHTTPServer):
    """Answers like a model's server, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bodies: list[bytes] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        length = self.headers.get("content-length")
        body = self.rfile.read(int(length)) if length else self._chunks()
        self.server.bodies.append(body)
        choice = {"index": 0, "delta": {"content": SAID}, "finish_reason": None}
        part = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        text = f"data: {json.dumps({**part, 'choices': [choice]})}\n\ndata: [DONE]\n\n".encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _chunks(self) -> bytes:
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def do_GET(self) -> None:
        self.server.bodies.append(self.path.encode())
        self.send_response(404)
        self.send_header("content-length", "0")
        self.end_headers()

    do_CONNECT = do_GET

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    with Server() as model, Server() as spy:
        yield model, spy
        model.shutdown()
        spy.shutdown()


def _ask(model: Server, spy: Server, how: str, folder: Path) -> subprocess.CompletedProcess[str]:
    hostile = {
        "LANGSMITH_TRACING": "true",
        "LANGCHAIN_TRACING_V2": "true",
        "LANGSMITH_ENDPOINT": spy.url,
        "LANGCHAIN_ENDPOINT": spy.url,
        "LANGSMITH_API_KEY": "k",
        "OPENAI_API_BASE": spy.url,
        "OPENAI_BASE_URL": spy.url,
        "OPENAI_LOG": "debug",
    }
    if how == "guarded":
        hostile |= {"OPENAI_PROXY": spy.url, "HTTP_PROXY": spy.url, "ALL_PROXY": spy.url}
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT, f"{model.url}/v1", how, QUESTION, PASSAGE],
        env={**kept, **hostile, "HOME": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_nothing_of_a_prompt_leaves_for_anybody_but_the_model(
    servers: tuple[Server, Server], tmp_path: Path
) -> None:
    model, spy = servers
    done = _ask(model, spy, "guarded", tmp_path)
    assert done.stdout.strip() == SAID, done.stderr
    assert b"SECRETQUESTION" in b"".join(model.bodies)
    assert spy.bodies == []
    assert "SECRET" not in done.stderr
    assert [
        path for path in tmp_path.rglob("*") if path.is_file() and b"SECRET" in path.read_bytes()
    ] == []


def test_the_libraries_would_have_traced(servers: tuple[Server, Server], tmp_path: Path) -> None:
    """Otherwise the test above proves nothing."""
    model, spy = servers
    done = _ask(model, spy, "unguarded", tmp_path)
    assert spy.bodies or "SECRET" in done.stderr, (done.stdout, done.stderr)
