"""The attested channel: TNG's ingress, watched and started again, and who is at its other end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator

from crag_core.errors import AttestationRejected, CragError
from crag_core.gateway import status
from crag_core.gateway.config import IngressConfig
from crag_core.gateway.dump import preflight
from crag_core.gateway.endpoint import Endpoint
from crag_core.gateway.process import Tng, start_on_free_ports
from crag_core.gateway.reasons import StaleKey
from crag_user.guard.body import Body
from crag_user.guard.heads import Head
from crag_user.guard.upstream import GatewayGone, exchange
from crag_user.service import Service
from crag_user.trust import Judgement, Trust

PROBE_SECONDS = 30.0
RESTARTS = 3
RESTART_WINDOW_SECONDS = 60.0
_WATCH_SECONDS = 0.1
# What TNG itself forgives an expired token; it renews before that.
_EXPIRY_LEEWAY_SECONDS = 60


class GatewayFailed(CragError):
    """TNG ended too often."""

    slug = "gateway-failed"


class Link:
    """A verified way to one service.

    Every request must be admitted first: :meth:`admit` asks TNG whom it verified, verifies that
    verdict by itself, and checks that the evidence names the very key that TNG encrypts to.

    ``proved_at``: when the service last proved itself to us, in seconds of the monotonic clock.
    """

    def __init__(self, service: Service, trust: Trust) -> None:
        self.service = service
        self.trust = trust
        self._tng: Tng[IngressConfig] | None = None
        self._lock = asyncio.Lock()
        self._judged: dict[tuple[str, str], Judgement] = {}
        self._ends: deque[float] = deque()
        self._why_down = "it was not started"
        self._proving = asyncio.Lock()
        self._distrusted = False
        self.proved_at = -math.inf

    async def verify(self) -> Judgement:
        """Have the service prove itself, without starting anything or sending it anything.

        Raises:
            AttestationRejected: it did not; Unreachable: it, or the Trustee, does not answer.
        """
        config = self.trust.ingress_config()
        begun = time.monotonic()
        given_up = threading.Event()
        try:
            proof = await asyncio.to_thread(
                preflight, config, self.service.endpoint, cancelled=given_up
            )
        finally:
            given_up.set()
        judgement = self.trust.judge(proof.token)
        self.proved_at = begun
        self._distrusted = False
        return judgement

    async def prove(self, within: float) -> None:
        """Have the service prove itself, as what was admitted, unless it did ``within`` seconds.

        Raises:
            CragError: as :meth:`verify`; AttestationRejected too where it measures differently.
        """
        async with self._proving:
            if time.monotonic() - self.proved_at <= within:
                return
            judgement = await self.verify()
        admitted = self._judged.values()
        if admitted and not any(judgement.measures_as(one) for one in admitted):
            raise AttestationRejected(
                f"{self.service.url} proves itself as other software than the one that is "
                "connected.",
                hint="Its provider may have updated it; connect again.",
            )

    def distrust(self) -> None:
        """Admit nothing before a fresh proof."""
        self._distrusted = True

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Judgement]:
        """Verify, then run the ingress; it is gone when the block ends.

        Raises:
            CragError: as :meth:`verify`, or the gateway does not start.
        """
        await self.verify()
        try:
            await self._start()
            yield await self.admit()
        finally:
            await asyncio.to_thread(self._stop)

    @property
    def ingress(self) -> Endpoint:
        """Where the running ingress listens.

        Raises:
            GatewayGone: it does not run at the moment.
        """
        tng = self._tng
        if tng is None or not tng.alive:
            raise GatewayGone(
                f"The gateway on this machine does not run ({self._why_down}).",
                hint="It is started again by itself and verifies anew; try again.",
            )
        return tng.config.listen

    async def admit(self) -> Judgement:
        """The judgement of whom TNG would encrypt to now; nothing may be sent before.

        Raises:
            AttestationRejected: nobody, or somebody who may not be trusted.
            Unreachable: the service or the Trustee does not answer.
            GatewayGone: the ingress does not run.
        """
        if self._distrusted:
            async with self._proving:
                if self._distrusted:
                    await self.verify()
        judgement = await self._known()
        if judgement is None:
            async with self._lock:
                judgement = await self._known()
                if judgement is None:
                    await self._probe()
                    judgement = await self._known()
        if judgement is None:
            raise AttestationRejected(
                f"The gateway holds no valid verdict on {self.service.url}.",
                hint="Nothing was sent. Try again; if it stays so, its provider has to act.",
            )
        return judgement

    async def renew(self) -> Judgement:
        """After the other side changed its key: have it prove itself again.

        TNG keeps an old key as long as it cannot get a new one affirmed, and then only says that
        the key is old; a fresh appraisal tells the reason.

        Raises:
            CragError: as :meth:`admit`.
        """
        async with self._lock:
            try:
                await self._probe()
            except StaleKey:
                await self.verify()
                await self._probe()
        return await self.admit()

    async def _known(self) -> Judgement | None:
        control = self._control()
        try:
            servers = await asyncio.to_thread(status.attested_servers, control)
        except CragError:
            self._control()
            raise
        mine = [s for s in servers if Service.parse(s.url) == self.service]
        if not mine:
            return None
        judged = {(s.key, s.token): self._judge(s) for s in mine}
        if any(j.ear.expires + _EXPIRY_LEEWAY_SECONDS < time.time() for j in judged.values()):
            return None
        self._judged = judged
        return next(iter(judged.values()))

    def _judge(self, server: status.AttestedServer) -> Judgement:
        known = self._judged.get((server.key, server.token))
        if known is not None:
            return known
        judgement = self.trust.judge(server.token)
        if not judgement.names_key(server.key):
            raise AttestationRejected(
                f"The verdict on {self.service.url} is about another key than the channel's.",
                hint="Nothing was sent. Check that CRAG_TNG names the genuine TNG 2.12.",
            )
        return judgement

    def _control(self) -> Endpoint:
        _ = self.ingress
        return self._tng.config.control if self._tng else self.ingress

    async def _probe(self) -> None:
        """Have TNG verify the other side, by a request that carries nothing of the user's."""
        head = Head(b"OPTIONS", "/", [(b"user-agent", b"crag-user")], 0)
        answer = await exchange(
            self.ingress,
            self.service,
            head,
            Body(_nothing, 0),
            trustee=self.trust.trustee,
            seconds=PROBE_SECONDS,
        )
        answer.close()

    async def _start(self) -> None:
        self._judged = {}
        self._tng = await asyncio.to_thread(start_on_free_ports, self.trust.ingress_config)

    def _stop(self) -> None:
        if self._tng is not None:
            self._tng.stop()

    async def watch(self) -> None:
        """Start the ingress again whenever it ends; it then knows nobody and verifies anew.

        Raises:
            GatewayFailed: it ended more than three times within a minute.
        """
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            tng = self._tng
            if tng is None or tng.alive:
                continue
            self._why_down = tng.exit_reason()
            self._count_end()
            await asyncio.to_thread(tng.stop)
            with contextlib.suppress(CragError):
                await self._start()

    def _count_end(self) -> None:
        now = time.monotonic()
        self._ends.append(now)
        while self._ends[0] < now - RESTART_WINDOW_SECONDS:
            self._ends.popleft()
        if len(self._ends) > RESTARTS:
            raise GatewayFailed(
                f"The gateway ended {len(self._ends)} times within a minute "
                f"(last: {self._why_down}).",
                hint="Run the command again; if it stays so, report that line.",
            )


async def _nothing() -> bytes:
    return b""
