"""Somebody listens on the way to a Trustee while a key is pushed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.errors import BadInput
from crag_core.trustee.admin import AdminClient
from crag_core.trustee.http import Http


@pytest.fixture
def key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://trustee.example:8081/api",
        "http://10.0.0.8:8081",
        "http://127.0.0.1.evil.example:8081/api",
        "http://localhost.evil.example/api",
        "HTTP://[2001:db8::1]:8081/api",
    ],
)
def test_nothing_is_administered_over_plain_http(
    url: str, key: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(Http, "request", lambda *arguments, **_more: sent.append(str(arguments)))
    with pytest.raises(BadInput) as caught:
        AdminClient(url, key)
    assert "plain http" in caught.value.message or "not usable" in caught.value.message
    assert sent == []


@pytest.mark.parametrize(
    "url", ["https://trustee.example/api", "http://127.0.0.1:8081/api", "http://[::1]:8081"]
)
def test_private_ways_are_taken(url: str, key: bytes) -> None:
    with AdminClient(url, key) as client:
        assert client is not None
