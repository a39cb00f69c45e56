"""The gateway in front of the API: the one address that others can reach."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from crag_core.gateway.config import EgressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import PortTaken, start_on_free_ports
from crag_provider.settings import ProviderSettings


@dataclass(frozen=True)
class Egress:
    """A running gateway. ``url``: as users address it; all interfaces are shown as loopback."""

    url: str
    tng: Any

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return bool(self.tng.alive)


def require_free(listen: str) -> None:
    """Refuse an address that cannot be listened on, before anything else is begun.

    Raises:
        UsageError: ``listen`` is no address.
        PortTaken: somebody else listens there, or it is not this machine's.
    """
    if listen.endswith(":0"):
        return
    wanted = Endpoint.parse(listen, "address to listen on")
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wanted.host, wanted.port))
        except OSError as error:
            raise PortTaken(
                f"The service cannot listen on {wanted}: {error.strerror}.",
                hint="Stop the program that listens there, or choose another --listen.",
            ) from None


@contextlib.contextmanager
def egress(settings: ProviderSettings, port: int, attester_url: str) -> Iterator[Egress]:
    """The gateway that hands requests to 127.0.0.1:``port``, for one block.

    Raises:
        UsageError: ``settings.listen`` is no address.
        NotSupported, CragError: as :meth:`crag_core.gateway.process.Tng.start`.
    """
    host, _, given = settings.listen.rpartition(":")
    anywhere = given == "0"
    fixed = None if anywhere else Endpoint.parse(settings.listen, "address to listen on")

    def build() -> EgressConfig:
        return EgressConfig(
            listen=fixed or free_endpoint(host),
            backend=Endpoint("127.0.0.1", port),
            attester_url=attester_url,
            control=free_endpoint(),
            rotation_interval=settings.rotation_seconds,
        )

    tng = start_on_free_ports(build, attempts=4 if anywhere else 2)
    try:
        at = tng.config.listen
        shown = Endpoint("127.0.0.1", at.port) if at.host in ("0.0.0.0", "::") else at  # noqa: S104
        yield Egress(shown.url, tng)
    finally:
        tng.stop()
