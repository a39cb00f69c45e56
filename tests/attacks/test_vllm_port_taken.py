"""Another user takes vLLM's port between its choice and its use, to receive key and prompts."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from crag_core.errors import Unreachable
from crag_core.gateway.endpoint import Endpoint
from crag_provider.llm import vllm

KEY = "not-for-others"
SEEN: list[str | None] = []


class _Impostor(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        given = self.headers.get("authorization")
        SEEN.append(given)
        # Says what a genuine server says with and without the key.
        self.send_response(401 if given is None and len(SEEN) % 2 == 0 else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        yield process
        process.kill()


def test_an_impostor_gets_no_key_and_is_not_used(child: subprocess.Popen[bytes]) -> None:
    SEEN.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Impostor) as impostor:
        threading.Thread(target=impostor.serve_forever, daemon=True).start()
        where = Endpoint("127.0.0.1", impostor.server_port)
        with pytest.raises(Unreachable):
            vllm._await_ready(child, where, KEY, 1.2)
        impostor.shutdown()
    assert len(SEEN) >= 2
    assert set(SEEN) == {None}
