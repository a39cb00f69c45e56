"""What every request and response goes through: a body bounded in size and time, and headers that
say what is so."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from crag_provider.api import errors

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024
BODY_SECONDS = 30.0


class _TooLarge(Exception):
    pass


class _TooSlow(Exception):
    pass


class Limits:
    """ASGI middleware: bodies over 256 kB get 413, those not there after 30 s get 408; nothing may
    be cached; insecure is said."""

    def __init__(self, app: ASGIApp, *, insecure: bool, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._seconds = seconds
        self._headers = [(b"cache-control", b"no-store")]
        if insecure:
            self._headers.append((b"x-crag-evidence", b"insecure"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        begun = refused = complete = slow = False
        deadline = asyncio.get_running_loop().time() + self._seconds

        async def bounded() -> Message:
            nonlocal taken, complete, slow
            # After the body's end this waits for the caller to go away, as long as an answer takes.
            try:
                async with asyncio.timeout_at(None if complete else deadline):
                    message = await receive()
            except TimeoutError:
                slow = True
                raise _TooSlow from None
            complete = not message.get("more_body", False)
            taken += len(message.get("body", b""))
            if taken > MAX_BODY_BYTES:
                raise _TooLarge
            return message

        async def marked(message: Message) -> None:
            nonlocal begun, refused
            # The framework turns our refusal to read on into an answer of its own.
            if (slow or taken > MAX_BODY_BYTES) and not begun:
                refused = True
                return
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        try:
            await self._app(scope, bounded, marked)
        except (_TooLarge, _TooSlow):
            refused = not begun
        if refused:
            await self._refuse(send, slow)

    async def _refuse(self, send: Send, slow: bool) -> None:
        said, code = f"is larger than {MAX_BODY_BYTES // 1024} kB", "too-large"
        if slow:
            said, code = f"was not complete after {self._seconds:g} s", "too-slow"
        content = errors.body(f"The request {said}.", "invalid_request_error", code)
        await send(
            {
                "type": "http.response.start",
                "status": 408 if slow else 413,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"connection", b"close"),
                    *self._headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})
