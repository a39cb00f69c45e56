"""A verified link with the guard in front of it, for as long as a command needs it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from crag_core.errors import CragError
from crag_core.gateway.endpoint import Endpoint
from crag_user.guard.server import Guard
from crag_user.guard.standing import RECHECK_SECONDS
from crag_user.link import Link
from crag_user.service import Service
from crag_user.trust import Judgement, Trust


@dataclass(frozen=True)
class Opened:
    """A proxy that reaches one verified service.

    ``proxy``: the guard's address. ``judgement``: of the service, when it was opened. ``failed``:
    completes with the error when the gateway cannot be kept running.
    """

    proxy: Endpoint
    judgement: Judgement
    failed: asyncio.Task[None]


@contextlib.asynccontextmanager
async def opened(
    service: Service,
    trust: Trust,
    listen: Endpoint | None = None,
    *,
    served: Callable[[CragError | None], None] | None = None,
    answer_seconds: float | None = None,
    recheck_seconds: float = RECHECK_SECONDS,
) -> AsyncIterator[Opened]:
    """Verify ``service``, start TNG's ingress and the guard; all are gone when the block ends.

    Args:
        listen: the guard's address; a free one of 127.0.0.1 by default.
        served: see :class:`crag_user.guard.server.Guard`.
        answer_seconds: how long the guard waits for each piece of an answer.
        recheck_seconds: how often the service proves itself anew while it answers.

    Raises:
        CragError: the service was refused or does not answer, or something cannot be started.
    """
    link = Link(service, trust)
    bound = {} if answer_seconds is None else {"answer_seconds": answer_seconds}
    async with link.opened() as judgement:
        guard = Guard(
            link,
            trustee=trust.trustee,
            insecure=judgement.insecure,
            recheck_seconds=recheck_seconds,
            served=served,
            **bound,
        )
        watcher = asyncio.get_running_loop().create_task(link.watch())
        try:
            yield Opened(await guard.start(listen), judgement, watcher)
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError, CragError):
                await watcher
            await guard.stop()


def until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work``; SIGTERM and Ctrl-C end it in order, and that is no error."""

    async def main() -> None:
        task = asyncio.ensure_future(work)
        asked = asyncio.Event()

        def end() -> None:
            asked.set()
            task.cancel()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, end)
        try:
            await task
        except asyncio.CancelledError:
            if not asked.is_set():
                raise

    asyncio.run(main())
