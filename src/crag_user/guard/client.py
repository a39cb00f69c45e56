"""The client's side of the guard: one connection, HTTP/1.1 by h11, every wait bounded."""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus

import h11

from crag_core.errors import CragError
from crag_user.guard.heads import BadRequest, Headers, values
from crag_user.guard.replies import reply, status_of

HEAD_SECONDS = 120.0
BODY_SECONDS = 60.0
WRITE_SECONDS = 60.0
HEAD_LIMIT = 32 * 1024
PIPELINE_LIMIT = 64 * 1024
_CHUNK = 64 * 1024


class ClientGone(Exception):
    """The client closed its connection, or did not go on in time."""


class Client:
    """Requests from, and responses to, one connected program."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self._accept = b""
        self._head_only = False
        self._waiting = 0
        self.tunnelled = False

    async def request(self) -> h11.Request | None:
        """The next request's head; None when the client has no more.

        Raises:
            BadRequest: it is not HTTP/1.x, is ambiguous, or its head is too large.
            ClientGone: it did not come in time.
        """
        self._accept = b""
        event = await self._event(HEAD_SECONDS)
        if isinstance(event, h11.Request):
            self._accept = b",".join(values(list(event.headers), b"accept"))
            self._head_only = event.method == b"HEAD"
            return event
        return None

    async def body_piece(self) -> bytes:
        """The next bytes of the request's body; ``b""`` at its end.

        Raises:
            ClientGone: it broke off.
        """
        if self._h11.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._write(self._h11.send(go_on))
        event = await self._event(BODY_SECONDS)
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return b""
        raise ClientGone

    async def _event(self, seconds: float) -> object:
        try:
            async with asyncio.timeout(seconds):
                while (event := self._h11.next_event()) is h11.NEED_DATA:
                    data = await self._reader.read(_CHUNK)
                    self._refuse_tls(data)
                    self._h11.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise BadRequest(
                "This is not a request that a proxy can pass on.",
                hint="Send HTTP/1.1, with one length and a head below "
                f"{HEAD_LIMIT // 1024} KiB (status {error.error_status_hint}).",
            ) from None
        except (TimeoutError, OSError):
            raise ClientGone from None
        return event

    def _refuse_tls(self, data: bytes) -> None:
        if self.tunnelled and data.startswith(b"\x16\x03"):
            raise ClientGone  # TLS: no sentence of ours could be read

    async def gone(self) -> None:
        """Return when the client closes its connection; keeps what it sends ahead."""
        while self._waiting < PIPELINE_LIMIT:
            try:
                data = await self._reader.read(_CHUNK)
            except OSError:
                return
            if not data:
                return
            self._waiting += len(data)
            self._h11.receive_data(data)
        await asyncio.Event().wait()

    @property
    def answering(self) -> bool:
        """Whether a response has begun: no other one can be sent any more."""
        return self._h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE)

    async def respond(self, status: int, reason: bytes, headers: Headers) -> None:
        """Send a response's head."""
        response = h11.Response(status_code=status, reason=reason, headers=headers)
        await self._write(self._h11.send(response))

    async def data(self, piece: bytes) -> None:
        """Send a piece of the body, at once."""
        await self._write(self._h11.send(h11.Data(data=piece)))

    async def end(self) -> None:
        """End the response."""
        await self._write(self._h11.send(h11.EndOfMessage()))
        self._waiting = 0

    async def refuse(self, error: CragError, *, insecure: bool) -> None:
        """Answer with ``error`` and close; nothing if a response has already begun."""
        if self.answering:
            return
        headers, body = reply(error, accept=self._accept, insecure=insecure)
        with contextlib.suppress(ClientGone, h11.LocalProtocolError):
            closing = [*headers, (b"connection", b"close")]
            status = HTTPStatus(status_of(error))
            await self.respond(status, status.phrase.encode(), closing)
            if not self._head_only:
                await self.data(body)
            await self.end()
            await self._linger()

    async def _linger(self) -> None:
        """Read what is still coming for a moment: closing on unread data would cut the answer."""
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            async with asyncio.timeout(1.0):
                for _ in range(64):
                    if not await self._reader.read(_CHUNK):
                        return

    async def accept_tunnel(self) -> None:
        """Accept a CONNECT: what follows is HTTP again, to the same service.

        Raises:
            ClientGone: the client's first bytes are TLS.
        """
        await self._write(
            self._h11.send(
                h11.Response(status_code=200, reason=b"Connection established", headers=[])
            )
        )
        early, _ = self._h11.trailing_data
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        self.tunnelled = True
        self._refuse_tls(early)
        if early:
            self._h11.receive_data(early)

    def next_cycle(self) -> bool:
        """Get ready for another request; whether there can be one."""
        if self._h11.their_state is h11.SEND_BODY:  # a request without a body still has an end
            self._h11.next_event()
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            return True
        return False

    async def _write(self, data: bytes | None) -> None:
        try:
            self._writer.write(data or b"")
            async with asyncio.timeout(WRITE_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError):
            raise ClientGone from None

    async def close(self) -> None:
        """Close the connection."""
        with contextlib.suppress(OSError, TimeoutError):
            self._writer.close()
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    def abort(self) -> None:
        """Cut the connection, so that a response that broke off cannot be taken for a whole one."""
        self._writer.transport.abort()
