"""A user's way to a service through the real TNG, and the ways in which a Trustee turns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.server import AttesterServer
from crag_core.gateway.config import EgressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import Tng, start_on_free_ports
from support.gateway import World
from support.trustee import Place, measurement, start

ROTATION = 5
# What one request may take on a busy machine, on top of the bound itself.
ONE_REQUEST = 1.5


@dataclass
class Served:
    """A Trustee that affirms, and an attested service behind an egress."""

    place: Place
    backend: Any
    egress: Tng[EgressConfig]

    @property
    def url(self) -> str:
        return self.egress.config.listen.url

    def as_world(self) -> World:
        """What ``connected`` needs to know."""
        signer = SimpleNamespace(ca_pem=self.place.trustee.identity.ca_pem)
        trustee = SimpleNamespace(signer=signer, trustee_url=self.place.url)
        return cast(World, SimpleNamespace(trustee=trustee, service=self.egress.config.listen))


@contextlib.contextmanager
def served(folder: Path, backend: Any) -> Iterator[Served]:
    """``backend`` (anything with a ``port`` on loopback), attested; all ends with the block."""
    place = start(folder / "trustee")
    place.allow(measurement())
    with AttesterServer(SampleSource(measurement())) as attester:
        egress = start_on_free_ports(
            lambda: EgressConfig(
                listen=free_endpoint(),
                backend=Endpoint("127.0.0.1", backend.port),
                attester_url=attester.url,
                control=free_endpoint(),
                rotation_interval=ROTATION,
            )
        )
        try:
            yield Served(place, backend, egress)
        finally:
            egress.stop()
            place.trustee.stop()


def measurement_retired(place: Place) -> None:
    with place.admin() as admin:
        admin.set_reference_values({"crag.software": ["0" * 64]})


def policy_replaced(place: Place) -> None:
    with place.admin() as admin:
        admin.set_attestation_policy("default", "package policy\nhardware := 97\n")


def trustee_stopped(place: Place) -> None:
    place.trustee.stop()


TURNS = (measurement_retired, policy_replaced, trustee_stopped)
