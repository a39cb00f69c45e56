from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.errors import BadInput, CragError, Unreachable
from crag_core.trustee import http, urls
from crag_core.trustee.http import Deadline, Http, Reply
from support.scripted_http import Answer, Asked, ScriptedServer, as_json, problem


def _reply(body: bytes, status: int = 500) -> Reply:
    return Reply("http://x", status, {}, body)


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that accepts a connection and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_request_carries_method_path_headers_and_body() -> None:
    with (
        ScriptedServer(lambda _: as_json({"ok": 1})) as server,
        Http(f"{server.url}/api/") as client,
    ):
        reply = client.request("POST", "/x", json_body={"a": "é"}, headers={"cookie": "c=1"})
        client.close()
    assert (reply.status, reply.json()) == (200, {"ok": 1})
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.json()) == ("POST", "/api/x", {"a": "é"})
    assert asked.headers["cookie"] == "c=1"
    assert asked.headers["content-type"] == "application/json"


def test_a_refused_connection_names_url_and_seconds() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with Http(url) as client, pytest.raises(Unreachable) as caught:
            client.request("GET", "/x")
    assert caught.value.exit_code == 75
    assert f"{url}/x" in caught.value.message
    assert "refused" in caught.value.message
    assert " s)" in caught.value.message


def test_a_server_that_says_nothing_is_given_up_in_time(silent: str) -> None:
    started = time.monotonic()
    with Http(silent) as client, pytest.raises(Unreachable, match="did not"):
        client.request("GET", "/", deadline=Deadline(0.3))
    assert time.monotonic() - started < 3


def test_a_server_that_drips_its_answer_is_given_up_in_time() -> None:
    script = lambda _: Answer(200, b"x" * 10_000, pauses=0.05)  # noqa: E731
    started = time.monotonic()
    with ScriptedServer(script) as server, Http(server.url) as client:
        with pytest.raises(Unreachable, match="did not"):
            client.request("GET", "/", deadline=Deadline(0.4))
        assert time.monotonic() - started < 3


def test_an_answer_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 1000)
    with (
        ScriptedServer(lambda _: Answer(200, b"x" * 1001)) as server,
        Http(server.url) as client,
        pytest.raises(CragError, match="more than 1000"),
    ):
        client.request("GET", "/")


def test_redirects_are_not_followed_and_cookies_not_kept() -> None:
    def script(asked: Asked) -> Answer:
        return Answer(302, b"", {"location": "/other", "set-cookie": "a=b; Path=/"})

    with ScriptedServer(script) as server, Http(server.url) as client:
        assert client.request("GET", "/one").status == 302
        client.request("GET", "/two")
    assert [asked.path for asked in server.asked] == ["/one", "/two"]
    assert all("cookie" not in asked.headers for asked in server.asked)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with ScriptedServer(lambda _: Answer(204)) as server, Http(server.url) as client:
        assert client.request("GET", "/").status == 204


def test_patience_ends_with_a_busy_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY_PAUSES", (0.01, 0.01))
    with ScriptedServer(lambda _: Answer(503)) as server, Http(server.url) as client:
        with pytest.raises(Unreachable, match="503"):
            client.patient("GET", "/", deadline=Deadline(5))
        assert len(server.asked) == 3


def test_patience_is_rewarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "RETRY_PAUSES", (0.01, 0.01))
    answers = [
        as_json({"error": "Failed to forward request to KBS"}, 500),
        problem("x", status=503, code="AS.DEPENDENCY.UNAVAILABLE", retryable=True),
        Answer(200),
    ]
    with ScriptedServer(lambda _: answers.pop(0)) as server, Http(server.url) as client:
        assert client.patient("GET", "/", deadline=Deadline(5)).status == 200


@pytest.mark.parametrize("kind", ["PolicyDeny", "AttestationError", "PluginInternalError"])
@pytest.mark.parametrize("status", [401, 403, 500, 502])
def test_a_refusal_is_never_tried_again(kind: str, status: int) -> None:
    with (
        ScriptedServer(lambda _: problem(kind, "no", status)) as server,
        Http(server.url) as client,
    ):
        reply = client.patient("GET", "/", deadline=Deadline(5))
        assert http.problem(reply).kind == kind
        assert len(server.asked) == 1


def test_patience_does_not_outlast_its_deadline(silent: str) -> None:
    started = time.monotonic()
    with Http(silent) as client, pytest.raises(Unreachable):
        client.patient("GET", "/", deadline=Deadline(0.5))
    assert time.monotonic() - started < 3


def test_an_answer_that_is_not_json_is_not_repeated() -> None:
    with pytest.raises(CragError) as caught:
        _reply(b"<html>secret</html>", 200).json()
    assert "secret" not in str(caught.value.as_json())


def test_problems_are_told_apart_by_type_and_code() -> None:
    found = http.problem(_reply(b'{"type":"https://x/kbs/errors/PolicyDeny","detail":"no"}'))
    assert (found.kind, found.detail, found.retryable) == ("PolicyDeny", "no", False)
    found = http.problem(
        _reply(b'{"type":"https://x/errors/BadRequest","code":"AS.EVIDENCE.X","detail":"no"}')
    )
    assert found.kind == "AS.EVIDENCE.X"
    assert http.problem(_reply(b"oops", 500)) == http.Problem("", "", retryable=False)
    assert http.problem(_reply(b"oops", 502)).retryable


def test_a_servers_text_cannot_reach_the_terminal_raw() -> None:
    found = http.problem(
        _reply(b'{"type":"a/B","detail":"x\\u001b[31m\\nroot# ' + b"y" * 900 + b'"}')
    )
    assert "\x1b" not in found.detail
    assert "\n" not in found.detail
    assert len(found.detail) <= 303
    found = http.problem(_reply(b'{"type":"a/B\\u001b[31m","detail":"x"}'))
    assert found.kind == "B [31m"


@given(st.binary(max_size=80), st.integers(400, 599))
def test_any_error_body_is_read(body: bytes, status: int) -> None:
    found = http.problem(_reply(body, status))
    assert found.detail == http.printable(found.detail)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "host:80",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h?x=1",
        "http://h#f",
        "http://[x",
    ],
)
def test_an_unusable_url_is_bad_input_and_not_repeated(url: str) -> None:
    with pytest.raises(BadInput) as caught:
        urls.server_url(url)
    assert "u:p" not in str(caught.value.as_json())


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1", "http://h:1/api/attestation-service"),
        ("http://h:1/", "http://h:1/api/attestation-service"),
        ("http://h:1/api", "http://h:1/api/attestation-service"),
        ("http://h:1/api/", "http://h:1/api/attestation-service"),
        ("http://h:1/gw/api", "http://h:1/gw/api/attestation-service"),
        ("http://h:1/api/attestation-service/", "http://h:1/api/attestation-service"),
        ("http://h:1/api/as", "http://h:1/api/as"),
    ],
)
def test_the_attestation_service_is_found_from_the_trustees_url(url: str, expected: str) -> None:
    assert urls.as_base(url) == expected


def test_the_key_broker_is_looked_for_below_api_too() -> None:
    assert urls.kbs_bases("http://h:1/") == ("http://h:1", "http://h:1/api")
    assert urls.kbs_bases("http://h:1/api/") == ("http://h:1/api",)
