from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from crag_core.attestation import sample
from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.measurement import Event, Measurement
from crag_core.attestation.server import AttesterServer
from crag_core.errors import CragError

SOURCE = SampleSource(Measurement([Event("software", {"a": 1})]))
# As TNG 2.12 sends it.
RECORDED = "rlVgtlpPL-XveZ48lWafwZCUH5tgNw6g3dTwHRCGGoHRNRG5qRma18_GaQhyKi0B"


@pytest.fixture(scope="module")
def server() -> Iterator[AttesterServer]:
    with AttesterServer(SOURCE) as running:
        yield running


def _get(server: AttesterServer, path: str, **headers: str) -> httpx.Response:
    return httpx.get(f"{server.url}{path}", headers=headers, trust_env=False, timeout=10)


def test_the_tee_is_named(server: AttesterServer) -> None:
    assert _get(server, "/info").json()["tee"] == "sample"


def test_tngs_request_gets_evidence_bound_to_its_bytes(server: AttesterServer) -> None:
    reply = _get(server, f"/aa/evidence?runtime_data={RECORDED}&encoding=base64")
    assert reply.status_code == 200
    sample.verify(reply.json(), base64.urlsafe_b64decode(RECORDED))


def test_there_is_no_further_device(server: AttesterServer) -> None:
    reply = _get(server, "/aa/additional-evidence?runtime_data=&encoding=base64")
    assert reply.status_code == 404


def test_further_devices_are_served_where_there_are_some() -> None:
    class Source(SampleSource):
        def additional(self, report_data: bytes) -> dict[str, Any] | None:
            return {"nvidia": {"bound": report_data.hex()}}

    with AttesterServer(Source(SOURCE.measurement)) as server:
        reply = _get(server, "/aa/additional-evidence?runtime_data=AAE&encoding=base64")
    assert reply.json() == {"nvidia": {"bound": "0001"}}


@pytest.mark.parametrize(
    "query",
    [
        "",
        "runtime_data=AAAA",
        "runtime_data=AAAA&encoding=hex",
        "encoding=base64",
        "runtime_data=&encoding=base64",
        "runtime_data=A&encoding=base64",
        "runtime_data=AA%2B%2F&encoding=base64",
        "runtime_data=AAAA&runtime_data=AAAB&encoding=base64",
        f"runtime_data={'A' * 88}&encoding=base64",
    ],
)
def test_a_request_without_one_usable_binding_is_refused(
    server: AttesterServer, query: str
) -> None:
    reply = _get(server, f"/aa/evidence?{query}")
    assert reply.status_code == 400
    assert "runtime_data" in reply.json()["error"]


@pytest.mark.parametrize("path", ["/info", f"/aa/evidence?runtime_data={RECORDED}&encoding=base64"])
@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://127.0.0.1"}])
def test_web_pages_get_no_evidence(
    server: AttesterServer, path: str, headers: dict[str, str]
) -> None:
    assert _get(server, path, **headers).status_code == 403


def test_requests_are_answered_side_by_side(server: AttesterServer) -> None:
    def one(number: int) -> bytes:
        bound = number.to_bytes(48, "big")
        text = base64.urlsafe_b64encode(bound).decode().rstrip("=")
        reply = _get(server, f"/aa/evidence?runtime_data={text}&encoding=base64")
        return base64.b64decode(reply.json()["report_data"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(24))) == [n.to_bytes(48, "big") for n in range(24)]


def test_a_source_that_fails_is_an_error_without_evidence() -> None:
    class Broken(SampleSource):
        def evidence(self, report_data: bytes) -> dict[str, Any]:
            raise CragError("The quote service does not answer.")

    with AttesterServer(Broken(SOURCE.measurement)) as server:
        reply = _get(server, f"/aa/evidence?runtime_data={RECORDED}&encoding=base64")
    assert (reply.status_code, reply.json()) == (
        500,
        {"error": "The quote service does not answer."},
    )


def test_it_listens_on_loopback_only_and_leaves_nothing_behind() -> None:
    server = AttesterServer(SOURCE).start()
    url = httpx.URL(server.url)
    assert url.host == "127.0.0.1"
    server.stop()
    server.stop()
    with socket.socket() as again:
        again.bind((url.host, url.port or 0))


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CragError, match=str(port)):
            AttesterServer(SOURCE, port=port).start()
