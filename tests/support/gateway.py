"""A real egress in front of a backend, and everything an ingress needs to verify it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from crag_core.gateway.config import EgressConfig, IngressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import Tng, start_on_free_ports
from support.small_as import Backend, SmallAs, SmallAttester


@dataclass
class World:
    """An Attestation Service, an attester, a backend and the egress between them."""

    trustee: SmallAs = field(default_factory=SmallAs)
    attester: SmallAttester = field(default_factory=SmallAttester)
    backend: Backend = field(default_factory=Backend)
    egress: Tng[EgressConfig] | None = None
    rotation: int = 30

    @property
    def service(self) -> Endpoint:
        assert self.egress is not None
        return self.egress.config.listen

    def egress_config(self, listen: Endpoint | None = None) -> EgressConfig:
        return EgressConfig(
            listen=listen or free_endpoint(),
            backend=Endpoint("127.0.0.1", self.backend.port),
            attester_url=self.attester.url,
            control=free_endpoint(),
            rotation_interval=self.rotation,
        )

    def start_egress(self) -> None:
        """Start the egress, again on its old address if it ran before."""
        old = self.egress.config.listen if self.egress else None
        self.stop_egress()
        self.egress = start_on_free_ports(lambda: self.egress_config(old))

    def stop_egress(self) -> None:
        if self.egress is not None:
            self.egress.stop()

    def ingress_config(self, anchor: bytes | None = None, policy: str = "default") -> IngressConfig:
        return IngressConfig(
            listen=free_endpoint(),
            control=free_endpoint(),
            as_url=self.trustee.as_url,
            policy_id=policy,
            anchors=(anchor or self.trustee.certificate_pem,),
        )


@contextlib.contextmanager
def world(rotation: int = 30) -> Iterator[World]:
    """A running :class:`World`; everything it started is gone afterwards."""
    made = World(rotation=rotation)
    with made.trustee, made.attester, made.backend:
        try:
            made.start_egress()
            yield made
        finally:
            made.stop_egress()
