"""A service whose answers come piece by piece, as a test tells it."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


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

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
