"""Revocation, measured: real Trustee, real TNG on both sides, the user's own command between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.server import AttesterServer
from crag_core.gateway.config import EgressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import Tng, start_on_free_ports
from support.gateway import World
from support.poll import until
from support.small_as import Backend
from support.trustee import Place, measurement, start
from support.user import connected

ROTATION = 5
# What one request may take on a busy machine, on top of the bound itself.
ONE_REQUEST = 1.5


@dataclass
class Served:
    """A Trustee that affirms, and an attested service behind an egress."""

    place: Place
    backend: Backend
    egress: Tng[EgressConfig]

    @property
    def url(self) -> str:
        return self.egress.config.listen.url

    def as_world(self) -> World:
        """What ``connected`` needs to know."""
        signer = SimpleNamespace(ca_pem=self.place.trustee.identity.ca_pem)
        trustee = SimpleNamespace(signer=signer, trustee_url=self.place.url)
        return cast(World, SimpleNamespace(trustee=trustee, service=self.egress.config.listen))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    place = start(tmp_path / "trustee")
    place.allow(measurement())
    with Backend() as backend, AttesterServer(SampleSource(measurement())) as attester:
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


@pytest.mark.parametrize("revoke", [measurement_retired, policy_replaced, trustee_stopped])
def test_a_running_connection_ends_within_twice_the_rotation_interval(
    served: Served, tmp_path: Path, revoke: Callable[[Place], None]
) -> None:
    with connected(served.as_world(), tmp_path) as link, link.client() as client:

        def ask() -> Any:
            return client.post(f"{served.url}/rag/query", content=b"q")

        # The connection is in use and its keys are not fresh when the verdict turns.
        begun = time.monotonic()
        until(lambda: ask().status_code == 200 and time.monotonic() - begun > 2, 20, "use")
        revoke(served.place)
        turned = time.monotonic()
        refused = until(lambda: (a := ask()).status_code != 200 and a, 30, "refusal")
        assert time.monotonic() - turned <= 2 * ROTATION + ONE_REQUEST
        assert refused.status_code in (502, 504)
        served.backend.seen.clear()
        for _ in range(5):
            assert ask().status_code in (502, 504)
        assert served.backend.seen == []
