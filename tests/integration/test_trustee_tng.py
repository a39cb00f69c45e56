"""The real TNG against the local Trustee: a request passes for the right workload only."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crag_core.attestation.ear import verify_ear
from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.server import AttesterServer
from crag_core.gateway.binary import find_tng
from crag_core.gateway.config import EgressConfig, IngressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import Tng, start_on_free_ports
from crag_core.gateway.status import attested_servers
from support.poll import until
from support.small_as import Backend
from support.trustee import Place, measurement, start


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = start(tmp_path / "trustee")
    yield made
    made.trustee.stop()


@pytest.fixture
def backend() -> Iterator[Backend]:
    with Backend() as made:
        yield made


@pytest.fixture
def attester() -> Iterator[AttesterServer]:
    with AttesterServer(SampleSource(measurement())) as made:
        yield made


@contextlib.contextmanager
def gateway(
    place: Place, attester: AttesterServer, backend: Backend
) -> Iterator[tuple[Tng[EgressConfig], Tng[IngressConfig]]]:
    """An OHTTP egress before the backend, and an ingress that asks the Trustee."""
    egress = start_on_free_ports(
        lambda: EgressConfig(
            listen=free_endpoint(),
            backend=Endpoint("127.0.0.1", backend.port),
            attester_url=attester.url,
            control=free_endpoint(),
        )
    )
    try:
        ingress = start_on_free_ports(
            lambda: IngressConfig(
                listen=free_endpoint(),
                control=free_endpoint(),
                as_url=place.service,
                policy_id="default",
                anchors=(place.trustee.identity.ca_pem,),
            )
        )
        try:
            yield egress, ingress
        finally:
            ingress.stop()
    finally:
        egress.stop()


def through(proxy: str, url: str) -> httpx.Response:
    with httpx.Client(proxy=proxy, trust_env=False, timeout=20) as client:
        return client.get(url)


def test_ohttp_passes_for_the_measured_workload(
    place: Place, attester: AttesterServer, backend: Backend
) -> None:
    place.allow(measurement())
    with gateway(place, attester, backend) as (egress, ingress):
        answer = through(ingress.config.listen.url, f"{egress.config.listen.url}/hello")
        assert answer.status_code == 200, answer.text
        assert backend.seen == [("GET", "/hello", b"")]
        (server,) = attested_servers(ingress.config.control)
        token = verify_ear(
            server.token, anchor_pem=place.trustee.identity.ca_pem, policy_id="default"
        )
    assert token.status == "affirming"
    assert token.insecure
    assert "challenge_token" in token.runtime_data


def test_ohttp_is_refused_while_the_reference_values_name_another_workload(
    place: Place, attester: AttesterServer, backend: Backend
) -> None:
    place.allow(measurement("another"))
    with gateway(place, attester, backend) as (egress, ingress):
        refused = through(ingress.config.listen.url, f"{egress.config.listen.url}/hello")
        assert refused.status_code == 500
        assert "EAR status is not affirming: got warning" in refused.json()["message"]
        assert backend.seen == []
        place.allow(measurement())
        answer = through(ingress.config.listen.url, f"{egress.config.listen.url}/hello")
        assert answer.status_code == 200, answer.text


def test_ohttp_is_refused_by_a_trustee_that_takes_no_sample_evidence(
    tmp_path: Path, attester: AttesterServer, backend: Backend
) -> None:
    strict = start(tmp_path / "strict", accept_sample=False)
    try:
        strict.allow(measurement())
        with gateway(strict, attester, backend) as (egress, ingress):
            refused = through(ingress.config.listen.url, f"{egress.config.listen.url}/hello")
            assert refused.status_code == 500
            assert "422" in refused.json()["message"]
        assert backend.seen == []
    finally:
        strict.trustee.stop()


@contextlib.contextmanager
def tng(config: dict[str, Any], control: Endpoint, folder: Path) -> Iterator[None]:
    """A TNG with a configuration that our own types don't write (RATS-TLS)."""
    path = folder / f"{control.port}.json"
    path.write_text(json.dumps({"control_interface": {"restful": control.as_config()}, **config}))
    with (folder / f"{control.port}.log").open("wb") as log:
        process = subprocess.Popen(
            [find_tng(), "launch", "--config-file", path],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"], "NO_COLOR": "1"},
        )

        def ready() -> bool:
            assert process.poll() is None, Path(log.name).read_text()[-2000:]
            try:
                return httpx.get(f"{control.url}/readyz", trust_env=False).status_code == 200
            except httpx.TransportError:
                return False

        try:
            until(ready, 20, "tng to be ready")
            yield
        finally:
            process.terminate()
            process.wait(10)


def test_rats_tls_passes_for_the_measured_workload_and_for_no_other(
    place: Place, attester: AttesterServer, backend: Backend, tmp_path: Path
) -> None:
    listen, proxy = free_endpoint(), free_endpoint()
    egress = {
        "mapping": {
            "in": listen.as_config(),
            "out": Endpoint("127.0.0.1", backend.port).as_config(),
        },
        "attest": {"aa_provider": "coco_asr", "asr_addr": attester.url},
    }
    ingress = {
        "http_proxy": {"proxy_listen": proxy.as_config()},
        "verify": {"as_addr": place.service, "policy_ids": ["default"]},
    }
    place.allow(measurement("another"))
    egress_tng = tng({"add_egress": [egress]}, free_endpoint(), tmp_path)
    # No pinned certificate here: the ingress takes what /certificate serves.
    ingress_tng = tng({"add_ingress": [ingress]}, free_endpoint(), tmp_path)
    with egress_tng, ingress_tng:
        # In this mode TNG 2.12 sends the request before it knows the verdict, so only the answer
        # is held back; that is why crag itself runs OHTTP alone.
        assert through(proxy.url, f"{listen.url}/hello").status_code == 400
        backend.seen.clear()
        place.allow(measurement())
        answer = through(proxy.url, f"{listen.url}/hello")
        assert answer.status_code == 200
        assert backend.seen == [("GET", "/hello", b"")]


def passport(place: Place, attester: AttesterServer, backend: Backend) -> tuple[Any, Any, Endpoint]:
    """An egress that fetches its token itself, and an ingress that only reads it."""
    listen, proxy = free_endpoint(), free_endpoint()
    egress = {
        "mapping": {
            "in": listen.as_config(),
            "out": Endpoint("127.0.0.1", backend.port).as_config(),
        },
        "attest": {
            "model": "passport",
            "aa_provider": "coco_asr",
            "asr_addr": attester.url,
            "as_addr": place.service,
            "policy_ids": ["default"],
        },
    }
    ingress = {
        "http_proxy": {"proxy_listen": proxy.as_config()},
        "verify": {
            "model": "passport",
            "trusted_certs_paths": [str(place.trustee.identity.ca_path)],
            "policy_ids": ["default"],
        },
    }
    return egress, ingress, listen


@pytest.mark.parametrize("mode", ["ohttp", "rats_tls"])
def test_a_passport_of_the_measured_workload_passes_and_no_other(
    place: Place, attester: AttesterServer, backend: Backend, tmp_path: Path, mode: str
) -> None:
    egress, ingress, listen = passport(place, attester, backend)
    egress[mode] = (
        {"key": {"source": "self_generated", "rotation_interval": 30}} if mode == "ohttp" else {}
    )
    ingress[mode] = {}
    proxy = Endpoint(**ingress["http_proxy"]["proxy_listen"])

    def answer() -> httpx.Response:
        sides = {"add_egress": [egress]}, {"add_ingress": [ingress]}
        with (
            tng(sides[0], free_endpoint(), tmp_path),
            tng(sides[1], free_endpoint(), tmp_path),
        ):
            return through(proxy.url, f"{listen.url}/hello")

    place.allow(measurement("another"))
    assert answer().status_code in (400, 500)
    place.allow(measurement())
    assert answer().status_code == 200
    assert backend.seen[-1] == ("GET", "/hello", b"")
