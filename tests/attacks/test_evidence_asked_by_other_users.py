"""Another user of the machine asks loopback for evidence over a session key of their own."""

from __future__ import annotations

import httpx
import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.measurement import Event, Measurement
from crag_core.attestation.server import AttesterServer

QUERY = "runtime_data=AAAA&encoding=base64"
SOURCE = SampleSource(Measurement([Event("software", {"a": 1})]))


@pytest.mark.parametrize("path", ["/info", f"/aa/evidence?{QUERY}", f"//aa/evidence?{QUERY}"])
def test_the_port_alone_gives_nothing(path: str) -> None:
    with AttesterServer(SOURCE) as server:
        address = httpx.URL(server.url)
        reply = httpx.get(f"http://127.0.0.1:{address.port}{path}", trust_env=False, timeout=10)
        known = httpx.get(f"{server.url}/info", trust_env=False, timeout=10)
    assert reply.status_code == 404
    assert "sample" not in reply.text
    assert known.json()["tee"] == "sample"


def test_every_service_has_a_path_of_its_own() -> None:
    paths = {httpx.URL(AttesterServer(SOURCE).url).path for _ in range(8)}
    assert len(paths) == 8
    assert min(map(len, paths)) > 30
