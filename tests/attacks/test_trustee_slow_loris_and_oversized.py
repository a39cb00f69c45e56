"""What one peer may cost the Trustee: slow, large, many."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.errors import CragError, Unreachable
from crag_core.trustee.kbs import KbsClient
from crag_core.trustee.local import limits, rates
from crag_core.trustee.local.limits import MAX_BODY, DeadlineProtocol
from support.poll import until
from support.trustee import RESOURCE, SECRET, Handshake, Place, kind, measurement, start


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = start(tmp_path / "trustee")
    yield made
    made.trustee.stop()


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A Trustee that limits no rates."""
    for name in ("SESSIONS", "CHALLENGES", "APPRAISALS", "RELEASES"):
        monkeypatch.setattr(rates, name, (1e6, 10_000))
    made = start(tmp_path / "patient")
    yield made
    made.trustee.stop()


def connect(place: Place) -> socket.socket:
    url = httpx.URL(place.url)
    return socket.create_connection((url.host, url.port or 0), timeout=10)


def closed(peer: socket.socket) -> bool:
    """Wait until the server has closed; whatever it said is thrown away."""
    try:
        while peer.recv(4096):
            pass
    except ConnectionResetError:
        return True
    return True


@pytest.mark.parametrize(
    "sent", [b"", b"POST /api/kbs/v0/auth HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "]
)
def test_a_peer_that_never_finishes_its_headers_is_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(DeadlineProtocol, "header_seconds", 0.3)
    with connect(place) as peer:
        begun = time.monotonic()
        peer.sendall(sent)
        assert closed(peer)
        assert time.monotonic() - begun < 3


def test_a_slow_loris_of_headers_is_closed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeadlineProtocol, "header_seconds", 0.3)
    with connect(place) as peer:
        peer.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")

        def dripped() -> bool:
            try:
                peer.sendall(b"a")
            except (BrokenPipeError, ConnectionResetError):
                return True
            return False

        until(dripped, 5, "the server to close")


def test_a_second_request_on_a_connection_has_a_deadline_too(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadlineProtocol, "header_seconds", 0.3)
    with connect(place) as peer:
        peer.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in peer.recv(4096)
        peer.sendall(b"GET /api/health HTTP/1.1\r\n")
        assert closed(peer)


def test_a_slow_loris_of_a_body_is_answered_and_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = place.trustee._server.config.loaded_app
    while not isinstance(app, limits.Guard):
        app = app.app
    monkeypatch.setattr(app, "_seconds", 0.3)
    with connect(place) as peer:
        peer.sendall(
            b"POST /api/kbs/v0/auth HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
        )
        assert b"408" in peer.recv(4096)
        assert closed(peer)


def test_an_oversized_body_is_refused_by_its_length_and_by_its_bytes(place: Place) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY // 65536 + 2):
            yield b"x" * 65536

    url = f"{place.service}/attestation"
    assert httpx.post(url, content=b"x" * (MAX_BODY + 1), trust_env=False).status_code == 413
    assert httpx.post(url, content=chunks(), trust_env=False).status_code == 413
    assert httpx.post(url, content=b"x" * 1000, trust_env=False).status_code == 400


def test_headers_over_the_limit_are_refused(place: Place) -> None:
    reply = httpx.get(f"{place.url}/health", headers={"X-A": "a" * 100_000}, trust_env=False)
    assert reply.status_code == 431


def test_connections_over_the_limit_are_closed_and_the_others_served(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadlineProtocol, "max_connections", 2)
    with connect(place) as one, connect(place) as two, connect(place) as three:
        assert closed(three)
        for peer in (one, two):
            peer.sendall(b"GET /api/health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in peer.recv(4096)


def test_sessions_over_the_limit_are_refused_and_open_ones_kept(patient: Place) -> None:
    place = patient
    place.allow(measurement())
    first = Handshake(place.kbs)
    first.auth()
    flood = Handshake(place.kbs)
    replies = [flood.auth() for _ in range(1024)]
    assert replies[-1].status_code == 429
    assert kind(replies[-1]) == "TooManyRequests"
    assert first.attest(measurement()).status_code == 200
    assert first.open(first.resource()) == SECRET


def test_a_flood_is_slowed_down_and_leaves_the_attested_and_the_admin_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SESSIONS", "CHALLENGES", "APPRAISALS"):
        monkeypatch.setattr(rates, name, (0.001, 4))
    place = start(tmp_path / "trustee")
    try:
        place.allow(measurement())
        first = Handshake(place.kbs)
        first.auth()
        assert first.attest(measurement()).status_code == 200
        flood = Handshake(place.kbs)
        opened = [flood.auth().status_code for _ in range(4)]
        assert opened == [200] * 3 + [429]
        urls = (f"{place.service}/attestation", f"{place.kbs}/attest")
        empty = [httpx.post(url, trust_env=False) for url in urls * 2]
        assert [reply.status_code for reply in empty] == [400, 401, 400, 429]
        assert empty[-1].headers["retry-after"] == "1"
        asked = [httpx.post(f"{place.service}/challenge", trust_env=False) for _ in range(5)]
        assert [reply.status_code for reply in asked] == [200] * 4 + [429]
        assert (asked[-1].json()["code"], asked[-1].json()["retryable"]) == (
            "AS.REQUEST.TOO_MANY",
            True,
        )
        with pytest.raises(Unreachable, match="429"):
            KbsClient(place.url, SampleSource(measurement())).fetch(RESOURCE)
        assert first.open(first.resource()) == SECRET
        with place.admin() as admin:
            assert admin.list_resources() == [RESOURCE]
            assert [release.released for release in admin.key_releases()] == [True]
    finally:
        place.trustee.stop()


def test_rates_recover_with_time_and_never_over_the_burst() -> None:
    now = [0.0]
    rate = rates.Rate(2.0, 3, clock=lambda: now[0])
    assert [rate.take() for _ in range(4)] == [True, True, True, False]
    now[0] = 0.5
    assert [rate.take() for _ in range(2)] == [True, False]
    now[0] = 1000.0
    assert [rate.take() for _ in range(4)] == [True, True, True, False]


def test_logs_hold_nothing_of_a_request(
    place: Place, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: object) -> None:
        raise RuntimeError(SECRET.hex())

    caplog.set_level(logging.DEBUG)
    place.allow(measurement())
    peer = Handshake(place.kbs)
    peer.auth()
    token = peer.attest(measurement()).json()["token"]
    monkeypatch.setattr("crag_core.trustee.local.resources.Resources.get", broken)
    reply = peer.resource()
    assert reply.status_code == 500
    assert reply.json() == {"error": "The request failed inside the Trustee."}
    ours = [r for r in caplog.records if not r.name.startswith(("httpx", "httpcore"))]
    text = "\n".join(str(record.__dict__) for record in ours)
    assert "RuntimeError" in text
    for hidden in (SECRET.hex(), token, peer.nonce, RESOURCE):
        assert hidden not in text


def test_a_release_that_cannot_be_audited_does_not_happen(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    place.allow(measurement())
    peer = Handshake(place.kbs)
    peer.auth()
    peer.attest(measurement())
    monkeypatch.setattr("crag_core.trustee.local.folder.Writer.append", full)
    refused = peer.resource()
    assert refused.status_code == 507
    assert "No space left" in refused.json()["error"]
    with place.admin() as admin, pytest.raises(CragError, match="No space left") as error:
        admin.set_resource(RESOURCE, b"another")
    assert error.value.code == "trustee-failed"
    monkeypatch.undo()
    assert peer.open(peer.resource()) == SECRET
