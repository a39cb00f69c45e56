"""The evidence source as TNG reads it: an attestation agent's REST interface on loopback.

``GET /info`` names the TEE; ``GET /aa/evidence?runtime_data=<base64url>&encoding=base64`` answers
with evidence bound to these bytes; ``GET /aa/additional-evidence`` with evidence of further
devices, or 404. All of it lies below a path that nobody can guess: who may ask for evidence over
bytes of their choice can present themselves to a Trustee as this service, and every process of the
machine reaches loopback.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from crag_core import __version__
from crag_core.attestation.evidence import EvidenceSource
from crag_core.errors import CragError

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

MAX_RUNTIME_DATA = 64
START_SECONDS = 10.0
STOP_SECONDS = 5.0
_BASE64URL = re.compile(r"[A-Za-z0-9_-]{0,128}={0,2}")


class AttesterServer:
    """Serves one evidence source on a free loopback port; a context manager.

    Args:
        source: asked anew for every request, possibly from several threads at once.
        port: 0 picks a free one.
    """

    def __init__(self, source: EvidenceSource, *, port: int = 0) -> None:
        self._source = source
        self._port = port
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT/SECRET``, once started; for the gateway's configuration only."""
        return f"http://127.0.0.1:{self._port}{self._path}"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen and serve from a thread; returns when requests are answered.

        Raises:
            CragError: the port is taken, or the server doesn't come up within 10 s.
        """
        import uvicorn

        if self._server is not None:
            return self
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError as error:
            listener.close()
            raise CragError(
                f"The evidence source cannot listen on 127.0.0.1:{self._port}: {error.strerror}.",
                hint="Leave the port out to let a free one be chosen.",
            ) from None
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            application(self._source, self._path),
            log_config=None,
            access_log=False,
            lifespan="off",
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="attester", daemon=True
        )
        thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                server.should_exit = True
                listener.close()
                raise CragError("The evidence source did not start.", hint="Try again.")
            time.sleep(0.005)
        self._server, self._thread = server, thread
        return self

    def stop(self) -> None:
        """Stop serving and close the port; safe to call twice."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(STOP_SECONDS)
            self._server.force_exit = True
        self._server = self._thread = None


def application(source: EvidenceSource, path: str = "") -> Starlette:
    """The interface below ``path`` as an ASGI application, without a socket."""
    from starlette.applications import Starlette
    from starlette.routing import Route

    def info(request: Request) -> Response:
        return _guarded(request) or _json({"tee": source.tee, "version": __version__})

    def evidence(request: Request) -> Response:
        refused = _guarded(request)
        if refused is not None:
            return refused
        bound = _runtime_data(request)
        if bound is None or not bound:
            return _error(
                400,
                "runtime_data must be 1 to 64 bytes as base64url, with encoding=base64.",
            )
        return _answer(lambda: source.evidence(bound))

    def additional(request: Request) -> Response:
        refused = _guarded(request)
        if refused is not None:
            return refused
        bound = _runtime_data(request)
        if bound is None:
            return _error(400, "runtime_data must be up to 64 bytes as base64url.")
        return _answer(lambda: source.additional(bound))

    return Starlette(
        routes=[
            Route(f"{path}/info", info),
            Route(f"{path}/aa/evidence", evidence),
            Route(f"{path}/aa/additional-evidence", additional),
        ]
    )


def _guarded(request: Request) -> Response | None:
    # A web page can make a browser call loopback under a name of its own; evidence made for a
    # page's challenge would pass for this service's.
    name = request.headers.get("host", "").rsplit(":", 1)[0]
    if name not in ("127.0.0.1", "localhost"):
        return _error(403, "This interface answers to 127.0.0.1 only.")
    if "origin" in request.headers:
        return _error(403, "This interface is not for web pages.")
    return None


def _runtime_data(request: Request) -> bytes | None:
    values = request.query_params.getlist("runtime_data")
    if request.query_params.get("encoding") != "base64" or len(values) != 1:
        return None
    if not _BASE64URL.fullmatch(values[0]):
        return None
    text = values[0].rstrip("=")
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) <= MAX_RUNTIME_DATA else None


def _answer(make: Any) -> Response:
    try:
        made = make()
    except CragError as error:
        return _error(500, error.message)
    return _error(404, "There is no such evidence.") if made is None else _json(made)


def _json(value: dict[str, Any], status: int = 200) -> Response:
    from starlette.responses import Response

    body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(body, status, media_type="application/json")


def _error(status: int, sentence: str) -> Response:
    return _json({"error": sentence}, status)
