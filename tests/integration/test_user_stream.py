"""Answers that come piece by piece, and clients that go away."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from support.gateway import World, world
from support.poll import until
from support.user import connected


class Stream:
    """Sends one event, then the next one only when it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.broken = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_args: object) -> None:
                return

            def do_OPTIONS(self) -> None:
                self.send_response(204)
                self.end_headers()

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("transfer-encoding", "chunked")
                self.end_headers()
                try:
                    self._chunk(b"data: first\n\n")
                    if self.path == "/endless":
                        while not outer.go_on.wait(0.01):
                            self._chunk(b": more\n\n")
                    outer.go_on.wait(20)
                    if self.path == "/cut":
                        self.connection.shutdown(socket.SHUT_RDWR)
                        return
                    self._chunk(b"data: second\n\n")
                    self._chunk(b"")
                except OSError:
                    outer.broken.set()

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def stream() -> Iterator[Stream]:
    made = Stream()
    yield made
    made.go_on.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def there(stream: Stream) -> Iterator[World]:
    with world() as made:
        made.backend.stop()
        made.backend.port = stream.port
        made.start_egress()
        yield made


def test_each_event_arrives_before_the_next_one_is_made(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with (
        connected(there, tmp_path) as link,
        link.client() as client,
        client.stream("GET", f"{there.service.url}/") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: first\n\n"
        assert not stream.go_on.is_set()
        stream.go_on.set()
        assert b"".join(pieces) == b"data: second\n\n"


def test_a_client_that_leaves_stops_the_service(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with connected(there, tmp_path) as link, link.client() as client:
        with client.stream("GET", f"{there.service.url}/endless") as answer:
            next(answer.iter_raw())
        assert until(stream.broken.is_set, 10, "the end of the service's stream")


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with (
        connected(there, tmp_path) as link,
        link.client() as client,
        client.stream("GET", f"{there.service.url}/cut") as answer,
    ):
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: first\n\n"
        stream.go_on.set()
        with pytest.raises(httpx.TransportError):
            list(pieces)


def test_a_signal_ends_it_within_seconds_while_an_answer_streams(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with connected(there, tmp_path) as link, link.client() as client:
        with client.stream("GET", f"{there.service.url}/endless") as answer:
            next(answer.iter_raw())
            code, _, err = link.end(10)
        assert code == 0
        assert "Traceback" not in err
