"""Addresses have one reading."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import UsageError
from crag_core.gateway.endpoint import Endpoint, free_endpoint, host_of, port_of, require_loopback


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("Example.COM", "example.com"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
        ("a", "a"),
        ("xn--hst-sna.example", "xn--hst-sna.example"),
    ],
)
def test_a_host_has_a_normal_form(text: str, host: str) -> None:
    assert host_of(text) == host


@pytest.mark.parametrize(
    "text",
    ["", "::1", "1.2.3", "127.1", "0x7f.1", "1", "01.2.3.4", "a..b", "-a", "a_b", "a b", "[::1",
     "[fe80::1%eth0]", "a/", "a@b", "１.2.3.4", "a" * 64, "é"],
)  # fmt: skip
def test_what_programs_read_differently_is_no_host(text: str) -> None:
    assert host_of(text) is None


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "+1", " 1", "1e3", "١", "000001"])
def test_only_plain_digits_are_a_port(text: str) -> None:
    assert port_of(text) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_parsing_refuses_or_reads_what_it_writes(text: str) -> None:
    try:
        endpoint = Endpoint.parse(text)
    except UsageError:
        return
    assert Endpoint.parse(str(endpoint)) == endpoint


def test_an_endpoint_cannot_hold_anything_else() -> None:
    for host, port in (("", 1), ("a/b", 1), ("EXAMPLE", 1), ("a", 0), ("a", 65536), ("::1%x", 1)):
        with pytest.raises(UsageError):
            Endpoint(host, port)


@pytest.mark.parametrize("host", ["10.0.0.1", "::", "localhost", "example.org"])
def test_only_a_literal_loopback_address_is_loopback(host: str) -> None:
    with pytest.raises(UsageError, match=r"The door .* is not on this machine's loopback"):
        require_loopback(Endpoint(host, 1), "door")


def test_loopback_addresses_pass() -> None:
    require_loopback(Endpoint("127.0.0.1", 1), "door")
    require_loopback(Endpoint("127.9.9.9", 1), "door")
    require_loopback(Endpoint("::1", 1), "door")


def test_a_free_endpoint_can_be_listened_on() -> None:
    endpoint = free_endpoint()
    with socket.create_server((endpoint.host, endpoint.port)) as server:
        assert server.getsockname()[1] == endpoint.port
