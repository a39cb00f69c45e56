"""Serve an ASGI application on loopback from a thread, without a log."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

from crag_core.errors import CragError

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

START_SECONDS = 10.0
STOP_SECONDS = 5.0


def silence() -> None:
    """Give this process's loggers nowhere to write: their lines could hold what users send."""
    root = logging.getLogger()
    root.handlers[:] = [logging.NullHandler()]
    root.setLevel(logging.CRITICAL + 1)
    logging.captureWarnings(True)


class LoopbackServer:
    """One application on a free port of 127.0.0.1; a context manager."""

    def __init__(self, app: ASGIApp, name: str, *, port: int = 0) -> None:
        self._app = app
        self._name = name
        self.port = port
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def alive(self) -> bool:
        """Whether requests are served."""
        return self._thread is not None and self._thread.is_alive()

    def __enter__(self) -> Self:
        import uvicorn

        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self.port))
        except OSError as error:
            listener.close()
            raise CragError(
                f"The {self._name} cannot listen on 127.0.0.1:{self.port}: {error.strerror}.",
                hint="Choose another port.",
            ) from None
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(STOP_SECONDS),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name=self._name, daemon=True
        )
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                server.should_exit = True
                listener.close()
                raise CragError(f"The {self._name} did not start.", hint="Try again.")
            time.sleep(0.005)
        self._server, self._thread = server, thread
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_SECONDS)
            self._server.force_exit = True
            self._thread.join(STOP_SECONDS)
