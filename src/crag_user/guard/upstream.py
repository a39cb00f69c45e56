"""One request to TNG's ingress, in absolute form, and its answer as it comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import h11

from crag_core.errors import CragError, Unreachable
from crag_core.gateway.endpoint import Endpoint
from crag_core.gateway.reasons import StaleKey, answer_error
from crag_user.guard.body import Body
from crag_user.guard.heads import Head, Headers, values
from crag_user.service import Service

CONNECT_SECONDS = 5.0
WRITE_SECONDS = 60.0
ANSWER_SECONDS = 600.0
_CHUNK = 64 * 1024
_HEAD_LIMIT = 64 * 1024
_ERROR_LIMIT = 64 * 1024


class GatewayGone(CragError):
    """TNG's ingress broke off: it ended, or is being started again."""

    slug = "gateway-gone"


@dataclass(frozen=True)
class Answer:
    """An answer whose head has come; iterate ``pieces`` for the body, then call ``close``.

    ``pieces`` yields what arrives as soon as it arrives and raises :class:`GatewayGone` where the
    answer breaks off.
    """

    status: int
    reason: bytes
    headers: Headers
    pieces: AsyncIterator[bytes]
    close: Callable[[], None]


class Exchange:
    """The connection of one request."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._seconds = seconds
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_LIMIT)

    @classmethod
    async def open(cls, ingress: Endpoint, seconds: float) -> Exchange:
        """Connect to the ingress; every wait for the answer is bounded by ``seconds``.

        Raises:
            GatewayGone: nothing listens there.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(ingress.host, ingress.port)
        except (OSError, TimeoutError):
            raise _gone() from None
        return cls(reader, writer, seconds)

    async def send(self, service: Service, head: Head, body: Body) -> None:
        """Write the request; an ingress that answers before the body's end is not an error."""
        framing = (
            (b"transfer-encoding", b"chunked")
            if body.length is None
            else (b"content-length", str(body.length).encode())
        )
        headers = [
            (b"host", service.authority.encode()),
            *head.headers,
            *([framing] if body.length != 0 or head.method not in (b"GET", b"HEAD") else []),
            (b"connection", b"close"),
        ]
        target = f"{service.url}{head.path}".encode("ascii")
        request = h11.Request(method=head.method, target=target, headers=headers)
        try:
            await self._write(self._h11.send(request))
            async for piece in body.chunks():
                await self._write(self._h11.send(h11.Data(data=piece)))
            await self._write(self._h11.send(h11.EndOfMessage()))
        except ConnectionError:
            return

    async def _write(self, data: bytes | None) -> None:
        self._writer.write(data or b"")
        async with asyncio.timeout(WRITE_SECONDS):
            await self._writer.drain()

    async def head(self) -> h11.Response:
        """The final response's head.

        Raises:
            Unreachable: it took longer than the bound.
            GatewayGone: the ingress broke off or spoke something else.
        """
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise _gone()

    async def data(self) -> AsyncIterator[bytes]:
        """The body's pieces.

        Raises:
            GatewayGone: it broke off before its end.
        """
        while True:
            event = await self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return
            else:
                raise _gone()

    async def _event(self) -> object:
        try:
            async with asyncio.timeout(self._seconds):
                while (event := self._h11.next_event()) is h11.NEED_DATA:
                    self._h11.receive_data(await self._reader.read(_CHUNK))
        except TimeoutError:
            raise Unreachable(
                f"The service did not answer within {self._seconds:g} s.",
                hint="It may be busy; try again.",
            ) from None
        except (OSError, h11.RemoteProtocolError):
            raise _gone() from None
        return event

    def close(self) -> None:
        """Close the connection at once."""
        with contextlib.suppress(OSError, RuntimeError):
            self._writer.transport.abort()


def _gone() -> GatewayGone:
    return GatewayGone(
        "The gateway on this machine broke off.",
        hint="It is started again by itself and verifies anew; try again.",
    )


async def exchange(
    ingress: Endpoint,
    service: Service,
    head: Head,
    body: Body,
    *,
    trustee: str,
    seconds: float = ANSWER_SECONDS,
) -> Answer:
    """Send one request through ``ingress`` and return its answer as soon as the head is there.

    Args:
        trustee: for the sentence when verification fails.
        seconds: bound on the wait for the head, and for each piece of the body.

    Raises:
        StaleKey: nothing was read by the other side; the same request may be sent again.
        CragError: TNG refused or could not reach the service (see
            :func:`crag_core.gateway.reasons.answer_error`), or is gone.
    """
    connection = await Exchange.open(ingress, seconds)
    try:
        await connection.send(service, head, body)
        response = await connection.head()
        headers = [(bytes(name), bytes(value)) for name, value in response.headers]
        pieces = connection.data()
        if _may_be_tngs(response.status_code, headers):
            whole = b"".join([piece async for piece in pieces])
            _raise_if_tngs(whole, service, trustee)
            _raise_if_hidden(head, response.status_code, service)
            pieces = _one(whole)
    except BaseException:
        connection.close()
        raise
    reason = bytes(response.reason)
    return Answer(response.status_code, reason, headers, pieces, connection.close)


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    if piece:
        yield piece


def _raise_if_tngs(body: bytes, service: Service, trustee: str) -> None:
    error = answer_error(body, service=service.url, trustee=trustee)
    if error is not None:
        raise error


def _raise_if_hidden(head: Head, status: int, service: Service) -> None:
    """An answer to HEAD hides TNG's error: have the other side verified, which tells the reason."""
    if head.method == b"HEAD" and status in (500, 502, 504):
        raise StaleKey(f"{service.url} did not answer a HEAD request.", hint="Try GET.")


def _may_be_tngs(status: int, headers: Headers) -> bool:
    if status < 400 or not any(v.startswith(b"tng/") for v in values(headers, b"server")):
        return False
    kinds, lengths = values(headers, b"content-type"), values(headers, b"content-length")
    small = len(lengths) == 1 and lengths[0].isdigit() and int(lengths[0]) <= _ERROR_LIMIT
    return small and any(kind.startswith(b"application/json") for kind in kinds)
