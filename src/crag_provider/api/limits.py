"""What every request and response goes through: a bounded body, and headers that say what is so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from crag_provider.api import errors

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 256 * 1024


class _TooLarge(Exception):
    pass


class Limits:
    """ASGI middleware: bodies over 256 kB get 413; nothing may be cached; insecure is said."""

    def __init__(self, app: ASGIApp, *, insecure: bool) -> None:
        self._app = app
        self._headers = [(b"cache-control", b"no-store")]
        if insecure:
            self._headers.append((b"x-crag-evidence", b"insecure"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0
        begun = refused = False

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY_BYTES:
                raise _TooLarge
            return message

        async def marked(message: Message) -> None:
            nonlocal begun, refused
            # The framework turns our refusal to read on into an answer of its own.
            if taken > MAX_BODY_BYTES and not begun:
                refused = True
                return
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        try:
            await self._app(scope, bounded, marked)
        except _TooLarge:
            refused = not begun
        if refused:
            await self._refuse(send)

    async def _refuse(self, send: Send) -> None:
        content = errors.body(
            f"The request is larger than {MAX_BODY_BYTES // 1024} kB.",
            "invalid_request_error",
            "too-large",
        )
        await send(
            {
                "type": "http.response.start",
                "status": 413,
                "headers": [
                    (b"content-type", b"application/json"),
                    (b"connection", b"close"),
                    *self._headers,
                ],
            }
        )
        await send({"type": "http.response.body", "body": json.dumps(content).encode()})
