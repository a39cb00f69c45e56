"""The guard's decisions about request heads."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import CragError
from crag_core.gateway.endpoint import Endpoint
from crag_user.guard.heads import (
    BadRequest,
    Headers,
    NotProxied,
    OtherDestination,
    check_connect,
    check_request,
    forwarded,
    returned,
)
from crag_user.service import Service

SERVICE = Service(Endpoint("127.0.0.1", 20001))
HOST = (b"Host", b"127.0.0.1:20001")
URL = b"http://127.0.0.1:20001/x?y=1"


def check(*headers: tuple[bytes, bytes], target: bytes = URL, tunnelled: bool = False) -> object:
    return check_request(SERVICE, b"POST", target, [HOST, *headers], tunnelled=tunnelled)


def test_a_request_to_the_service_keeps_its_path_and_its_own_headers() -> None:
    head = check_request(
        SERVICE, b"GET", URL, [HOST, (b"Accept", b"a"), (b"Cookie", b"c")], tunnelled=False
    )
    assert (head.method, head.path, head.length) == (b"GET", "/x?y=1", 0)
    assert head.headers == [(b"Accept", b"a"), (b"Cookie", b"c")]


@pytest.mark.parametrize("target", [b"/", b"/x", b"*", b"127.0.0.1:20001", b"/?u=http://a/"])
def test_a_request_that_is_not_to_a_proxy_is_refused(target: bytes) -> None:
    with pytest.raises(NotProxied, match="This is a proxy for"):
        check(target=target)


@pytest.mark.parametrize(
    "target", [b"http://example.org/", b"https://127.0.0.1:20001/", b"http://127.0.0.1:2/"]
)
def test_any_other_destination_is_refused(target: bytes) -> None:
    with pytest.raises(OtherDestination, match="and nothing else"):
        check(target=target)


@pytest.mark.parametrize(
    "host", [b"evil", b"127.0.0.1", b"127.0.0.1:20002", b"localhost:20001", b""]
)
def test_a_host_header_of_somebody_else_is_refused(host: bytes) -> None:
    with pytest.raises(OtherDestination):
        check_request(SERVICE, b"GET", URL, [(b"host", host)], tunnelled=False)
    with pytest.raises(OtherDestination):
        check_request(SERVICE, b"GET", b"/", [(b"host", host)], tunnelled=True)
    with pytest.raises(OtherDestination):
        check_connect(SERVICE, b"127.0.0.1:20001", [(b"host", host)])


def test_two_host_headers_must_both_name_the_service() -> None:
    with pytest.raises(OtherDestination):
        check((b"host", b"evil"))


@pytest.mark.parametrize("target", [b"example.org:80", b"127.0.0.1:1", b"127.0.0.1", b"/", URL])
def test_a_tunnel_to_somebody_else_is_refused(target: bytes) -> None:
    with pytest.raises(OtherDestination):
        check_connect(SERVICE, target, [])


def test_inside_a_tunnel_the_path_alone_is_enough() -> None:
    head = check_request(SERVICE, b"GET", b"/a?b", [HOST], tunnelled=True)
    assert head.path == "/a?b"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")],
        [(b"Content-Length", b"3"), (b"content-length", b"4")],
        [(b"Content-Length", b"3"), (b"content-length", b"3")],
        [(b"Content-Length", b"+3")],
        [(b"Content-Length", b"3, 3")],
        [(b"Content-Length", b"-1")],
        [(b"Content-Length", b"9" * 16)],
        [(b"Transfer-Encoding", b"gzip, chunked")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"identity")],
    ],
)
def test_ambiguous_framing_is_refused(headers: Headers) -> None:
    with pytest.raises(BadRequest):
        check(*headers)


@pytest.mark.parametrize("method", [b"TRACE", b"trace", b"CONNECT"])
def test_methods_that_answer_with_the_request_are_refused(method: bytes) -> None:
    with pytest.raises(BadRequest):
        check_request(SERVICE, method, URL, [HOST], tunnelled=True)


def test_heads_that_are_too_large_are_refused() -> None:
    with pytest.raises(BadRequest):
        check(*[(b"a", b"b")] * 200)
    with pytest.raises(BadRequest):
        check(target=URL + b"a" * 20_000)
    with pytest.raises(BadRequest):
        check(target=b"http://127.0.0.1:20001/\xff")


def test_what_ends_at_this_hop_is_not_forwarded() -> None:
    gone: Headers = [
        (b"Connection", b"keep-alive, X-Mine"),
        (b"X-Mine", b"1"),
        (b"Keep-Alive", b"5"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"TE", b"trailers"),
        (b"Upgrade", b"websocket"),
        (b"Expect", b"100-continue"),
        (b"X-Forwarded-For", b"10.0.0.1"),
        (b"X-Real-IP", b"10.0.0.1"),
        (b"Forwarded", b"for=1"),
        (b"X-Tng-Ohttp-Api", b"/tng/key-config"),
        (b"X-Crag-Evidence", b"hardware"),
    ]
    assert forwarded([HOST, *gone, (b"Authorization", b"Bearer t")]) == [
        (b"Authorization", b"Bearer t")
    ]


def test_the_service_cannot_say_anything_about_its_own_evidence() -> None:
    sent: Headers = [
        (b"X-Crag-Evidence", b"hardware"),
        (b"X-Crag-Refused", b"other-destination"),
        (b"X-Tng-Anything", b"1"),
        (b"Connection", b"close, X-Crag-Answer"),
        (b"X-Crag-Answer", b"1"),
        (b"Set-Cookie", b"a=b"),
        (b"Content-Length", b"3"),
    ]
    kept: Headers = [(b"Set-Cookie", b"a=b"), (b"Content-Length", b"3")]
    assert returned(sent, insecure=False) == kept
    assert returned(sent, insecure=True) == [*kept, (b"x-crag-evidence", b"insecure")]


def test_a_chunked_answer_loses_its_length() -> None:
    sent = [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")]
    assert returned(sent, insecure=False) == []


NAMES = st.sampled_from([b"host", b"Host", b"content-length", b"transfer-encoding", b"connection"])
TOKENS = st.sampled_from([b"chunked", b"0", b"12", b"close", b"content-length", b"evil", HOST[1]])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(NAMES, TOKENS), max_size=6), st.booleans())
def test_whatever_passes_has_one_length_and_names_only_the_service(
    headers: Headers, tunnelled: bool
) -> None:
    try:
        head = check_request(SERVICE, b"POST", URL, headers, tunnelled=tunnelled)
    except CragError:
        return
    values = [value for name, value in headers if name.lower() == b"host"]
    assert set(values) <= {HOST[1]}
    lengths = [value for name, value in headers if name.lower() == b"content-length"]
    codings = [value for name, value in headers if name.lower() == b"transfer-encoding"]
    assert len(lengths) + len(codings) <= 1
    assert head.length == (None if codings else int(lengths[0]) if lengths else 0)
    named = {name.lower() for name, _ in head.headers}
    assert not named & {b"host", b"content-length", b"transfer-encoding", b"connection"}
