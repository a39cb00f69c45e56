"""What one peer may ask of the server: how many connections, how slowly, how much, from where.

uvicorn bounds neither the time a peer takes to send its headers nor the number of connections
that send none; :class:`DeadlineProtocol` does. The rest is :class:`Guard`, around the whole app.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request
from uvicorn.protocols.http.h11_impl import H11Protocol

from crag_core.trustee.local.replies import plain

MAX_BODY = 2 * 1024 * 1024
MAX_HEADERS = 64 * 1024
MAX_CONNECTIONS = 256
HEADER_SECONDS = 10.0
REQUEST_SECONDS = 20.0
KEEP_ALIVE_SECONDS = 5

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_LOOPBACK = re.compile(r"(127(\.\d{1,3}){3}|localhost|\[::1\])(:\d{1,5})?", re.IGNORECASE)
_log = logging.getLogger("crag.trustee")


class DeadlineProtocol(H11Protocol):
    """HTTP/1.1 that closes connections whose next request isn't complete in its headers in time."""

    header_seconds = HEADER_SECONDS
    max_connections = MAX_CONNECTIONS
    _deadline: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # uvicorn decides by whether anybody listens; paths of keys belong in no log.
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock; one connection too many is closed at once."""
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            transport.abort()
            return
        self._start_clock()

    def handle_events(self) -> None:
        """Stop the clock once the headers are complete."""
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._stop_clock()

    def on_response_complete(self) -> None:
        """Start the clock for the next request of this connection."""
        before = self.cycle
        super().on_response_complete()
        if self.cycle is before and not self.transport.is_closing():
            self._start_clock()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def _start_clock(self) -> None:
        self._stop_clock()
        self._deadline = self.loop.call_later(self.header_seconds, self.transport.abort)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Guard:
    """Everything that comes before a route: where the request comes from, its size, its time.

    Only loopback names are served (a page that rebinds its name to 127.0.0.1 is refused), and no
    request that a browser marks with an Origin. Nothing of an error's text leaves or is logged.
    """

    def __init__(self, app: App, *, seconds: float = REQUEST_SECONDS) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        refusal = _refusal(Request(scope))
        if refusal is not None:
            await plain(*refusal)(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._app(scope, receive, sending)
        except TimeoutError:
            if not begun:
                await plain(408, f"The request took longer than {self._seconds:g} seconds.")(
                    scope, receive, send
                )
        except Exception as error:  # noqa: BLE001 - its text may hold what must not be shown
            _log.error("a request failed with %s", type(error).__name__)
            if not begun:
                await plain(500, "The request failed inside the Trustee.")(scope, receive, send)


def _refusal(request: Request) -> tuple[int, str] | None:
    if not _LOOPBACK.fullmatch(request.headers.get("host", "")):
        return 421, "This Trustee is for one machine and answers to 127.0.0.1 and localhost only."
    if "origin" in request.headers:
        return 403, "This Trustee doesn't answer to web pages."
    if sum(len(name) + len(value) for name, value in request.headers.raw) > MAX_HEADERS:
        return 431, f"The headers are larger than {MAX_HEADERS} bytes."
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > MAX_BODY:
        return 413, f"The body is larger than {MAX_BODY} bytes."
    return None


class BodyTooLarge(Exception):
    """A body that is larger than the limit, found while it arrived."""


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """The whole body of a request.

    Raises:
        BodyTooLarge: more than ``limit`` bytes arrive, whatever the headers said.
    """
    parts = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise BodyTooLarge
        parts.append(part)
    return b"".join(parts)
