"""Programs and web pages that try to use the guard for anything but the one service."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from support.gateway import World, world
from support.small_as import Backend
from support.user import Connected, connected


@pytest.fixture(scope="module")
def there() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module")
def link(there: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    with connected(there, tmp_path_factory.mktemp("link")) as made:
        yield made


@pytest.fixture
def target(there: World) -> Iterator[Backend]:
    there.backend.seen.clear()
    with Backend() as made:
        yield made
        assert made.seen == []


def raw(link: Connected, request: str | bytes, *, half_close: bool = True) -> bytes:
    data = request.encode() if isinstance(request, str) else request
    split = urlsplit(link.proxy)
    with socket.create_connection((str(split.hostname), int(split.port or 0)), timeout=20) as sock:
        sock.sendall(data)
        if half_close:
            sock.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def forwarded(there: World) -> list[tuple[str, str, bytes]]:
    return [seen for seen in there.backend.seen if seen[0] != "OPTIONS"]


def test_other_urls_and_tunnels_are_refused_and_reach_nobody(
    there: World, link: Connected, target: Backend
) -> None:
    other, mine = f"127.0.0.1:{target.port}", str(there.service)
    for request in (
        f"GET http://{other}/ HTTP/1.1\r\nHost: {other}\r\n\r\n",
        f"GET http://{other}/ HTTP/1.1\r\nHost: {mine}\r\n\r\n",
        f"GET http://{mine}@{other}/ HTTP/1.1\r\nHost: {mine}\r\n\r\n",
        f"GET http://{mine}:{target.port}/ HTTP/1.1\r\nHost: {mine}\r\n\r\n",
        f"CONNECT {other} HTTP/1.1\r\nHost: {other}\r\n\r\n",
        f"CONNECT {other} HTTP/1.1\r\nHost: {mine}\r\n\r\n",
        f"GET https://{mine}/ HTTP/1.1\r\nHost: {mine}\r\n\r\n",
        f"GET ftp://{mine}/ HTTP/1.1\r\nHost: {mine}\r\n\r\n",
    ):
        assert status(raw(link, request)) == 403, request
    assert forwarded(there) == []


def test_a_host_header_that_points_elsewhere_is_refused(
    there: World, link: Connected, target: Backend
) -> None:
    mine = str(there.service)
    for host in (f"127.0.0.1:{target.port}", "evil.example", ""):
        request = f"GET http://{mine}/ HTTP/1.1\r\nHost: {host}\r\n\r\n"
        assert status(raw(link, request)) in (400, 403), host
    two = f"GET http://{mine}/ HTTP/1.1\r\nHost: {mine}\r\nHost: evil.example\r\n\r\n"
    assert status(raw(link, two)) == 400
    assert forwarded(there) == []


def test_a_rebound_name_reaches_nothing(there: World, link: Connected) -> None:
    """A page whose name now resolves to 127.0.0.1 sends origin-form requests with its own Host."""
    for path in ("/", "/rag/query", "//", "/http://x/"):
        answer = raw(link, f"GET {path} HTTP/1.1\r\nHost: evil.example:41000\r\n\r\n")
        assert status(answer) == 400
        assert b"This is a proxy for" in answer
    assert forwarded(there) == []


def test_a_request_hidden_in_another_one_is_not_seen_by_the_service(
    there: World, link: Connected
) -> None:
    mine = str(there.service)
    head = f"POST http://{mine}/first HTTP/1.1\r\nHost: {mine}\r\n"
    hidden = f"GET http://{mine}/smuggled HTTP/1.1\r\nHost: {mine}\r\n\r\n"
    length = len(hidden)
    for framing, body in (
        (f"Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n" + hidden),
        ("Content-Length: 0\r\nContent-Length: 5\r\n", hidden),
        (f"Content-Length: 0, {length}\r\n", hidden),
        ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n" + hidden),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n" + hidden),
        ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n" + hidden),
        (" Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", hidden),
        ("Content-Length: -1\r\n", hidden),
        ("Content-Length: 0x10\r\n", hidden),
    ):
        answer = raw(link, head + framing + "\r\n" + body)
        assert answer.count(b"HTTP/1.1 ") == 1, framing
        assert status(answer) in (400, 403), framing
    assert forwarded(there) == []


def test_a_length_named_by_connection_cannot_be_dropped(there: World, link: Connected) -> None:
    """'Connection: content-length' asks the next hop to forget where the body ends."""
    there.backend.seen.clear()
    mine = str(there.service)
    request = (
        f"POST http://{mine}/whole HTTP/1.1\r\nHost: {mine}\r\n"
        "Connection: close, content-length, host\r\nContent-Length: 4\r\n\r\nbody"
    )
    assert status(raw(link, request, half_close=False)) == 200
    assert forwarded(there) == [("POST", "/whole", b"body")]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
        b"\x00" * 100,
        b"GET\r\n\r\n",
        b"GET http://x HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 100_000,
        b"GET http://x/" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\nA: b\rC: d\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_the_guard_goes_on(
    there: World, link: Connected, request_bytes: bytes
) -> None:
    answer = raw(link, request_bytes)
    assert not answer or status(answer) in (400, 403)
    with link.client() as client:
        assert client.get(f"{there.service.url}/alive").status_code == 200


def test_many_idle_connections_do_not_keep_others_out_for_ever(
    there: World, link: Connected
) -> None:
    split = urlsplit(link.proxy)
    address = (str(split.hostname), int(split.port or 0))
    idle = [socket.create_connection(address, timeout=5) for _ in range(100)]
    try:
        with link.client() as client:
            assert client.get(f"{there.service.url}/in-between").status_code == 200
    finally:
        for each in idle:
            each.close()
    with link.client() as client:
        assert client.get(f"{there.service.url}/after").status_code == 200
