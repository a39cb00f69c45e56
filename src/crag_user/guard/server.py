"""The guard's server: admits, forwards and answers; it writes nothing down about any request."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

import h11

from crag_core.errors import AttestationRejected, CragError, UsageError
from crag_core.gateway.endpoint import Endpoint, require_loopback
from crag_core.gateway.reasons import StaleKey
from crag_user.guard.body import Body
from crag_user.guard.client import Client, ClientGone
from crag_user.guard.heads import Head, check_connect, check_request, returned
from crag_user.guard.standing import RECHECK_SECONDS, Prover, until_withdrawn
from crag_user.guard.upstream import ANSWER_SECONDS, Answer, exchange
from crag_user.service import Service

MAX_CLIENTS = 128
STALE_KEY_TRIES = 2
STALE_KEY_PAUSE_SECONDS = 0.3
DRAIN_SECONDS = 2.0


class Admission(Protocol):
    """What a request is admitted with."""

    @property
    def insecure(self) -> bool:
        """Whether the evidence was made by software."""


class Gate(Prover, Protocol):
    """What the guard needs of a link."""

    @property
    def service(self) -> Service:
        """The one service."""

    @property
    def ingress(self) -> Endpoint:
        """Where TNG's ingress listens; raises a CragError while it does not run."""

    async def admit(self) -> Admission:
        """Judge whom TNG would encrypt to now; raises a CragError where nothing may be sent."""

    async def renew(self) -> Admission:
        """As :meth:`admit`, after the other side proved itself again."""


class Guard:
    """An HTTP proxy on loopback for one attested service.

    Args:
        gate: admits each request and says where the ingress is.
        trustee: for sentences.
        insecure: mark every response from the start; an admission can only add the mark.
        answer_seconds: bound on the wait for an answer's head, and for each piece of its body.
        recheck_seconds: how often the service proves itself anew while an answer is on its way.
        served: called after each request that was for the service, with its error if it had one.
    """

    def __init__(
        self,
        gate: Gate,
        *,
        trustee: str,
        insecure: bool = False,
        answer_seconds: float = ANSWER_SECONDS,
        recheck_seconds: float = RECHECK_SECONDS,
        served: Callable[[CragError | None], None] | None = None,
    ) -> None:
        self._gate = gate
        self._trustee = trustee
        self._insecure = insecure
        self._answer_seconds = answer_seconds
        self._recheck_seconds = recheck_seconds
        self._served = served
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[asyncio.Task[None] | None] = set()

    async def start(self, listen: Endpoint | None = None) -> Endpoint:
        """Listen, on a free port of 127.0.0.1 if ``listen`` is None; returns the address.

        Raises:
            UsageError: the address is not loopback, or is in use.
        """
        host, port = ("127.0.0.1", 0) if listen is None else (listen.host, listen.port)
        if listen is not None:
            require_loopback(listen, "address to listen on")
        try:
            self._server = await asyncio.start_server(self._accept, host, port)
        except OSError as error:
            raise UsageError(
                f"{host}:{port} cannot be listened on: {error.strerror or 'in use'}.",
                hint="Stop the program that uses it, or choose another port with --listen.",
            ) from None
        return Endpoint(host, int(self._server.sockets[0].getsockname()[1]))

    async def stop(self) -> None:
        """Take no more connections, give answers on their way two seconds, then cut them."""
        if self._server is not None:
            self._server.close()
        for late in (False, True):
            for task in self._tasks:
                if late or task not in self._busy:
                    task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=DRAIN_SECONDS)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= MAX_CLIENTS:
            writer.transport.abort()
            return
        task = asyncio.get_running_loop().create_task(self._serve(Client(reader, writer)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: Client) -> None:
        try:
            while await self._one(client) and client.next_cycle():
                pass
            await client.close()
        except ClientGone:
            await client.close()
        except CragError as error:
            await client.refuse(error, insecure=self._insecure)
            await client.close()
        except Exception as error:  # noqa: BLE001 - a defect; its text might hold a request's
            defect = CragError(f"Unexpected {type(error).__name__} in the guard.", code="defect")
            await client.refuse(defect, insecure=self._insecure)
            client.abort()
        except BaseException:
            client.abort()
            raise

    async def _one(self, client: Client) -> bool:
        """Serve one request; whether the connection may carry another one."""
        request = await client.request()
        if request is None:
            return False
        service = self._gate.service
        headers = [(bytes(name), bytes(value)) for name, value in request.headers]
        if request.method == b"CONNECT" and not client.tunnelled:
            check_connect(service, request.target, headers)
            await client.accept_tunnel()
            return await self._one(client)
        head = check_request(
            service, request.method, request.target, headers, tunnelled=client.tunnelled
        )
        body = Body(client.body_piece, head.length)
        task = asyncio.current_task()
        self._busy.add(task)
        try:
            await body.prefetch()
            await self._unless_gone(client, body, self._answer(client, head, body))
        except CragError as error:
            self._tell(error)
            raise
        finally:
            self._busy.discard(task)
        self._tell(None)
        return body.consumed

    def _tell(self, error: CragError | None) -> None:
        if self._served is not None:
            self._served(error)

    async def _unless_gone(self, client: Client, body: Body, work: Awaitable[None]) -> None:
        """Do ``work``, but stop where the client goes away, so that the service stops too."""
        task = asyncio.ensure_future(work)
        if not body.consumed:  # the body is still being read from the same connection
            await task
            return
        watcher = asyncio.ensure_future(client.gone())
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientGone
            await task
        finally:
            for each in (task, watcher):
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await each

    async def _answer(self, client: Client, head: Head, body: Body) -> None:
        admission = await self._gate.admit()
        self._insecure = self._insecure or admission.insecure
        await self._while_affirmed(client, self._forward(client, head, body))

    async def _while_affirmed(self, client: Client, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, but cut it where the service does not stand any more."""
        task = asyncio.ensure_future(work)
        watcher = asyncio.ensure_future(until_withdrawn(self._gate, self._recheck_seconds))
        try:
            await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                if client.answering:
                    client.abort()
                raise watcher.result()
            await task
        finally:
            for each in (task, watcher):
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await each

    async def _forward(self, client: Client, head: Head, body: Body) -> None:
        answer = await self._exchange(head, body)
        try:
            headers = returned(answer.headers, insecure=self._insecure)
            if not body.consumed:
                headers.append((b"connection", b"close"))
            await client.respond(answer.status, answer.reason, headers)
            async for piece in answer.pieces:
                await client.data(piece)
            await client.end()
        except CragError:
            client.abort()
            raise
        except h11.LocalProtocolError:
            client.abort()
            raise AttestationRejected("The service's answer is not HTTP.") from None
        finally:
            answer.close()

    async def _exchange(self, head: Head, body: Body) -> Answer:
        """Send the request; again if the other side could not read it, and proves itself anew."""
        tries = STALE_KEY_TRIES
        while True:
            try:
                return await exchange(
                    self._gate.ingress,
                    self._gate.service,
                    head,
                    body,
                    trustee=self._trustee,
                    seconds=self._answer_seconds,
                )
            except StaleKey:
                if tries <= 0 or not body.replayable:
                    raise
            tries -= 1
            await asyncio.sleep(STALE_KEY_PAUSE_SECONDS)
            admission = await self._gate.renew()
            self._insecure = self._insecure or admission.insecure
