"""TDX evidence with a GPU's, made on a fake kernel, carried by the real TNG to a local Trustee."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crag_core.attestation.ear import verify_ear
from crag_core.attestation.nvml import GpuCollector
from crag_core.attestation.own_events import OwnEvents
from crag_core.attestation.rtmr import RuntimeRegister
from crag_core.attestation.server import AttesterServer
from crag_core.attestation.tdx_evidence import TdxSource
from crag_core.attestation.tsm import TsmReports
from crag_core.gateway.config import EgressConfig, IngressConfig
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.process import start_on_free_ports
from crag_core.gateway.status import attested_servers
from support.fake_kernel import FakeKernel
from support.fake_nvml import FakeNvml
from support.fuse import mounting
from support.small_as import Backend
from support.td import place, td
from support.trustee import Place, measurement


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path / "sys") as mounted:
        yield mounted


@pytest.fixture
def trustee(tmp_path: Path) -> Iterator[Place]:
    made = place(tmp_path / "trustee")
    (made.folder / "evidence-policy.json").write_text(
        '{"format": "crag/evidence-policy/v1", "gpu": {"required": 1, "require_binding": true}}'
    )
    with made.admin() as admin:
        admin.set_reference_values(td(gpus=1).references())
    yield made
    made.trustee.stop()


def source(kernel: FakeKernel) -> TdxSource:
    return TdxSource(
        TsmReports(kernel.report),
        ccel=kernel.ccel,
        gpus=GpuCollector(FakeNvml()),
        own=OwnEvents.of(measurement()),
        runtime=RuntimeRegister(kernel.rtmr3),
    )


@contextlib.contextmanager
def tunnel(
    made: TdxSource, trustee: Place, backend: Backend
) -> Iterator[tuple[str, str, Endpoint]]:
    """Proxy and service of an egress with that evidence, and the ingress's control address."""
    with AttesterServer(made) as attester, contextlib.ExitStack() as stack:
        egress = start_on_free_ports(
            lambda: EgressConfig(
                listen=free_endpoint(),
                backend=Endpoint("127.0.0.1", backend.port),
                attester_url=attester.url,
                control=free_endpoint(),
            )
        )
        stack.callback(egress.stop)
        ingress = start_on_free_ports(
            lambda: IngressConfig(
                listen=free_endpoint(),
                control=free_endpoint(),
                as_url=trustee.service,
                policy_id="default",
                anchors=(trustee.trustee.identity.ca_pem,),
            )
        )
        stack.callback(ingress.stop)
        yield ingress.config.listen.url, f"{egress.config.listen.url}/hello", ingress.config.control


@mounting
def test_a_measured_td_with_its_gpu_is_reached(kernel: FakeKernel, trustee: Place) -> None:
    made = source(kernel)
    assert made.measure() == 3
    with Backend() as backend, tunnel(made, trustee, backend) as (proxy, url, control):
        with httpx.Client(proxy=proxy, trust_env=False, timeout=60) as client:
            answer = client.get(url)
        assert answer.status_code == 200, answer.text
        (server,) = attested_servers(control)
    token = verify_ear(
        server.token, anchor_pem=trustee.trustee.identity.ca_pem, policy_id="default"
    )
    assert (token.tee, token.insecure) == ("tdx", False)
    assert token.measurements["rtmr_3"] == made.register


@mounting
@pytest.mark.parametrize("foreign", [False, True], ids=["nothing measured", "others measured"])
def test_a_td_that_measured_something_else_is_not(
    kernel: FakeKernel, trustee: Place, foreign: bool
) -> None:
    made = source(kernel)
    if foreign:
        made.measure()
        kernel.extend(b"another program")
    with Backend() as backend, tunnel(made, trustee, backend) as (proxy, url, _control):
        with httpx.Client(proxy=proxy, trust_env=False, timeout=60) as client:
            assert client.get(url).status_code == 500
        assert backend.seen == []
