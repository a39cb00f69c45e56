"""Which URLs and authorities mean the one service; nothing else may."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from crag_core.errors import UsageError
from crag_core.gateway.endpoint import Endpoint
from crag_user.service import Service, authority_of

SERVICE = Service(Endpoint("10.1.2.3", 20001))
CHARS = "abcAZ019.:/@?#[]%\\-_~!$&'()*+,;= \t\r\n\x00é"


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("http://127.0.0.1:20001", "http://127.0.0.1:20001"),
        ("HTTP://Example.COM/", "http://example.com:80"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[0:0::1]", "http://[::1]:80"),
        ("http://localhost:1", "http://localhost:1"),
    ],
)
def test_a_service_url_has_one_written_form(url: str, written: str) -> None:
    assert Service.parse(url).url == written


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:20001",
        "https://127.0.0.1:20001",
        "http://",
        "http://:80",
        "http://host:",
        "http://host:0",
        "http://host:65536",
        "http://host:+80",
        "http://host:８0",
        "http://user@host:80",
        "http://user:pass@host:80",
        "http://host:80/path",
        "http://host:80/?q",
        "http://host:80/#f",
        "http://host:80#f",
        "http://2130706433:80",
        "http://0x7f.0.0.1:80",
        "http://0x7f000001:80",
        "http://127.1:80",
        "http://0127.0.0.1:80",
        "http://ho st:80",
        "http://host\n:80",
        "http://[::1:80",
        "http://::1:80",
        "http://[::1%25eth0]:80",
        "http://-host:80",
        "http://höst:80",
        "ftp://host:80",
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(UsageError):
        Service.parse(url)


def test_https_is_told_apart() -> None:
    with pytest.raises(UsageError) as refused:
        Service.parse("https://host:20001")
    assert "no TLS" in refused.value.hint


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("http://10.1.2.3:20001/", "/"),
        ("http://10.1.2.3:20001", "/"),
        ("http://10.1.2.3:20001?q=1", "/?q=1"),
        ("HTTP://10.1.2.3:20001/a//b?c=http://evil/", "/a//b?c=http://evil/"),
        ("http://10.1.2.3:20001/@evil", "/@evil"),
        ("http://10.1.2.3:20001//evil/", "//evil/"),
    ],
)
def test_absolute_targets_of_the_service_keep_their_path(target: str, path: str) -> None:
    assert SERVICE.path_of_absolute(target) == path


@pytest.mark.parametrize(
    "target",
    [
        "http://10.1.2.3:20002/",
        "http://10.1.2.3/",
        "http://10.1.2.4:20001/",
        "http://10.1.2.3:20001@evil/",
        "http://evil@10.1.2.3:20001/",
        "http://10.1.2.3:20001.evil/",
        "http://10.1.2.3:20001\\@evil/",
        "http://evil/http://10.1.2.3:20001/",
        "http://evil?http://10.1.2.3:20001/",
        "http://10.1.2.3:20001/#f",
        "https://10.1.2.3:20001/",
        "//10.1.2.3:20001/",
        "/",
        "*",
        "10.1.2.3:20001",
    ],
)
def test_absolute_targets_of_others_have_no_path(target: str) -> None:
    assert SERVICE.path_of_absolute(target) is None


@settings(max_examples=300, deadline=None)
@given(st.text(CHARS, max_size=40), st.text(CHARS, max_size=20))
@example("10.1.2.3:20001", "/x")
@example("10.1.2.3:020001", "/x")
def test_a_target_passes_only_where_another_parser_sees_the_service_too(
    authority: str, rest: str
) -> None:
    target = f"http://{authority}{rest}"
    path = SERVICE.path_of_absolute(target)
    if path is not None:
        split = urlsplit(target)
        assert (split.scheme, split.hostname, split.port) == ("http", "10.1.2.3", 20001)
        assert split.username is None and split.password is None and not split.fragment
        assert path.startswith("/")


@settings(max_examples=300, deadline=None)
@given(st.text(CHARS, max_size=40))
def test_a_host_header_passes_only_where_it_is_the_service(text: str) -> None:
    if SERVICE.is_host(text):
        assert text in ("10.1.2.3:20001", "10.1.2.3:020001", "10.1.2.3:20001")
    if SERVICE.is_connect_target(text):
        assert SERVICE.is_host(text)


@settings(max_examples=200, deadline=None)
@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_address_survives_being_written_and_read(address: object, port: int) -> None:
    assume("%" not in str(address))
    written = Endpoint(str(address), port)
    assert authority_of(str(written)) == written
    assert Service.parse(written.url).endpoint == written
