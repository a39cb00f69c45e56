"""``crag-user connect`` in front of the real TNG: what passes, what is refused, how it ends."""

from __future__ import annotations

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crag_core.gateway.config import EgressConfig
from crag_core.gateway.endpoint import free_endpoint
from crag_core.gateway.process import start_on_free_ports
from support.gateway import World, world
from support.poll import until
from support.small_as import Backend
from support.user import Connected, arguments, connected, gone, run, runs


@pytest.fixture(scope="module")
def there() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture(scope="module")
def link(there: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connected]:
    with connected(there, tmp_path_factory.mktemp("link")) as made:
        yield made


def raw(proxy: str, request: bytes) -> bytes:
    """What the guard answers to exactly these bytes."""
    split = urlsplit(proxy)
    with socket.create_connection((str(split.hostname), int(split.port or 0)), timeout=20) as sock:
        sock.sendall(request)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
        return answer


def test_ready_is_one_line_that_tells_where_and_what_was_verified(link: Connected) -> None:
    assert link.ready["ready"] is True
    assert link.ready["insecure"] is True
    assert link.ready["attestation"]["verdict"] == "affirming"
    assert link.ready["attestation"]["tee"] == "sample"


def test_requests_reach_the_service_whole_and_answers_come_back(
    there: World, link: Connected
) -> None:
    there.backend.seen.clear()
    with link.client() as client:
        answer = client.post(f"{there.service.url}/a?b=c", content=b"x" * 100_000)
        again = client.get(f"{there.service.url}/second")
    assert (answer.status_code, answer.json()) == (200, {"path": "/a?b=c", "bytes": 100_000})
    assert again.json()["path"] == "/second"
    assert there.backend.seen == [("POST", "/a?b=c", b"x" * 100_000), ("GET", "/second", b"")]


def test_every_answer_is_marked_insecure(there: World, link: Connected) -> None:
    with link.client() as client:
        for url in (there.service.url, "http://example.org/"):
            assert client.get(url).headers["x-crag-evidence"] == "insecure"
    assert b"x-crag-evidence: insecure" in raw(link.proxy, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")


def test_a_large_body_streams_through(there: World, link: Connected) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(48):
            yield b"y" * 65536

    with link.client() as client:
        answer = client.post(f"{there.service.url}/large", content=pieces())
    assert answer.json()["bytes"] == 48 * 65536


def test_a_tunnel_carries_http_to_the_service_only(there: World, link: Connected) -> None:
    authority = str(there.service).encode()
    there.backend.seen.clear()
    connect = b"CONNECT " + authority + b" HTTP/1.1\r\nHost: " + authority + b"\r\n\r\n"
    inner = b"GET /t HTTP/1.1\r\nHost: " + authority + b"\r\nConnection: close\r\n\r\n"
    answer = raw(link.proxy, connect + inner)
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n")
    assert b'{"path": "/t", "bytes": 0}' in answer
    evil = inner.replace(b"Host: " + authority, b"Host: evil.example")
    assert b" 403 " in raw(link.proxy, connect + evil)
    tls = b"\x16\x03\x01\x02\x00\x01\x00"
    assert raw(link.proxy, connect + tls).count(b"HTTP/1.1") == 1
    assert there.backend.seen == [("GET", "/t", b"")]


def test_a_program_that_asks_before_sending_is_told_to_go_on(there: World, link: Connected) -> None:
    head = f"POST {there.service.url}/e HTTP/1.1\r\nHost: {there.service}\r\nConnection: close\r\n"
    head += "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    split = urlsplit(link.proxy)
    with socket.create_connection((str(split.hostname), int(split.port or 0)), timeout=20) as sock:
        sock.sendall(head.encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"abc")
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    assert b'"bytes": 3' in answer


def test_many_clients_at_once_are_served(there: World, link: Connected) -> None:
    with link.client() as client, concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: client.get(f"{there.service.url}/{n}"), range(48)))
    assert [answer.json()["path"] for answer in answers] == [f"/{n}" for n in range(48)]


def test_a_restarted_egress_costs_no_request(there: World, link: Connected) -> None:
    """The first request after a restart finds no key; the guard verifies anew and sends again."""
    there.start_egress()
    there.backend.seen.clear()
    with link.client() as client:
        answer = client.post(f"{there.service.url}/again", content=b"body")
    assert answer.status_code == 200
    assert [seen for seen in there.backend.seen if seen[0] != "OPTIONS"] == [
        ("POST", "/again", b"body")
    ]


def test_an_egress_that_is_down_is_told_within_seconds(there: World, link: Connected) -> None:
    there.stop_egress()
    try:
        with link.client() as client:
            answer = client.get(f"{there.service.url}/x")
        assert answer.status_code == 504
        assert answer.json()["error"]["exit"] == 75
        assert "does not answer" in answer.json()["error"]["message"]
    finally:
        there.start_egress()


def test_a_refusal_is_told_to_a_head_request_too(there: World, link: Connected) -> None:
    with link.client() as client:
        assert client.head(f"{there.service.url}/x").status_code == 200
        there.stop_egress()
        try:
            answer = client.head(f"{there.service.url}/x")
        finally:
            there.start_egress()
    assert (answer.status_code, answer.headers["x-crag-refused"]) == (504, "unreachable")


def test_a_service_that_is_down_behind_its_gateway_is_told_apart(tmp_path: Path) -> None:
    with world() as made, connected(made, tmp_path) as link:
        made.backend.stop()
        with link.client() as client:
            answer = client.get(f"{made.service.url}/x?q=private")
        assert answer.status_code == 504
        assert "behind its gateway" in answer.json()["error"]["message"]
        assert "private" not in answer.text


def test_once_ends_after_one_request_to_the_service(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path, "--once") as link, link.client() as client:
        assert client.get("http://example.org/").status_code == 403
        assert link.process.poll() is None
        assert client.get(f"{there.service.url}/only").status_code == 200
        children = link.tng()
        assert link.process.wait(10) == 0
        assert gone(children)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(there: World, tmp_path: Path, number: signal.Signals) -> None:
    with connected(there, tmp_path) as link:
        children = link.tng()
        assert len(children) == 1
        link.process.send_signal(number)
        out, err = link.process.communicate(timeout=10)
        code = link.process.returncode
        assert (code, out) == (0, "")
        assert "Traceback" not in err
        assert gone(children)


def test_nothing_is_left_when_it_is_killed(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path) as link:
        children = link.tng()
        assert children
        link.process.kill()
        assert gone(children)


def test_a_gateway_that_dies_is_started_again_and_verifies_anew(
    there: World, tmp_path: Path
) -> None:
    with connected(there, tmp_path) as link, link.client() as client:
        (first,) = link.tng()
        asked = there.trustee.calls.count("attestation")
        os.kill(first, signal.SIGKILL)
        answer = client.get(f"{there.service.url}/x")
        assert answer.status_code in (200, 502)
        if answer.status_code == 502:
            assert "gateway" in answer.json()["error"]["message"]
        until(lambda: client.get(f"{there.service.url}/y").status_code == 200, 15, "recovery")
        (second,) = link.tng()
        assert second != first
        assert there.trustee.calls.count("attestation") > asked


def test_a_gateway_that_keeps_dying_ends_the_command(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path) as link:
        for _ in range(4):
            (pid,) = until(link.tng, 15, "a running gateway")
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: not runs(pid), 5, "its end")
        assert link.process.wait(15) == 1
        assert link.process.stdout is not None
        error = json.loads(link.process.stdout.read())["error"]
        assert error["code"] == "gateway-failed"
        assert "killed by SIGKILL" in error["message"]


def test_a_port_in_use_is_a_usage_error(there: World, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ["connect", there.service.url, "--listen", listen, *arguments(there, tmp_path)]
        done = run(*words)
    assert done.returncode == 2
    assert "cannot be listened on" in done.stderr
    everywhere = "0.0.0.0:41000"
    refused = run("connect", there.service.url, "--listen", everywhere, *words[4:])
    assert refused.returncode == 2
    assert "loopback" in refused.stderr


def test_a_trustee_that_is_down_is_exit_75(there: World, tmp_path: Path) -> None:
    words = arguments(there, tmp_path)
    words[1] = free_endpoint().url + "/api"
    done = run("connect", there.service.url, *words, timeout=40)
    assert done.returncode == 75
    assert "Trustee" in done.stderr


def test_an_egress_that_is_down_is_exit_75(there: World, tmp_path: Path) -> None:
    done = run("connect", free_endpoint().url, *arguments(there, tmp_path, "--json"), timeout=40)
    assert done.returncode == 75
    assert json.loads(done.stdout)["error"]["exit"] == 75


def test_a_verdict_that_turns_is_noticed(tmp_path: Path) -> None:
    """Revocation: at the latest after two rotations of the egress's key nothing passes any more."""
    with world(rotation=2) as made, connected(made, tmp_path) as link, link.client() as client:
        assert client.get(f"{made.service.url}/x").status_code == 200
        made.trustee.status = "contraindicated"
        refused = until(
            lambda: (a := client.get(f"{made.service.url}/x")).status_code == 502 and a,
            20,
            "refusal",
        )
        assert "contraindicated" in refused.json()["error"]["message"]
        made.backend.seen.clear()
        assert client.post(f"{made.service.url}/x", content=b"q").status_code == 502
        assert made.backend.seen == []
        made.trustee.status = "affirming"
        until(lambda: client.get(f"{made.service.url}/x").status_code == 200, 20, "recovery")


def test_nothing_of_a_request_is_written_anywhere(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path, "-v", "-v") as link:
        with link.client() as client:
            client.post(f"{there.service.url}/SECRETPATH?q=SECRETQUERY", content=b"SECRETBODY")
            client.get("http://example.org/SECRETPATH?q=SECRETQUERY")
            there.stop_egress()
            client.get(f"{there.service.url}/SECRETPATH?q=SECRETQUERY")
        there.start_egress()
        pid = link.process.pid
        command_lines = [Path(f"/proc/{p}/cmdline").read_bytes() for p in (pid, *link.tng())]
        code, out, err = link.end()
    assert code == 0
    assert "SECRET" not in out + err
    assert not any(b"SECRET" in line for line in command_lines)
    written = [p for p in tmp_path.rglob("*") if p.is_file() and b"SECRET" in p.read_bytes()]
    assert written == []


def test_a_service_that_cannot_attest_gets_no_connection(there: World, tmp_path: Path) -> None:
    class NoAttestation(EgressConfig):
        def document(self, anchor_paths: tuple[str, ...] = ()) -> dict[str, object]:
            document = super().document(anchor_paths)
            del document["add_egress"][0]["attest"]
            document["add_egress"][0]["no_ra"] = True
            return document

    egress = start_on_free_ports(lambda: NoAttestation(**vars(there.egress_config())))
    there.backend.seen.clear()
    try:
        done = run("connect", egress.config.listen.url, *arguments(there, tmp_path))
    finally:
        egress.stop()
    assert done.returncode == 10
    assert "does not attest" in done.stderr
    assert there.backend.seen == []


def test_curl_works_as_people_use_it(there: World, link: Connected) -> None:
    done = subprocess.run(
        ["curl", "-sS", "-x", link.proxy, f"{there.service.url}/curl"],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert json.loads(done.stdout)["path"] == "/curl"


def test_another_backend_is_never_reached(there: World, link: Connected) -> None:
    with Backend() as other, link.client() as client:
        answer = client.get(other.url + "/x")
        assert answer.status_code == 403
        assert there.service.url in answer.json()["error"]["message"]
        assert other.seen == []
