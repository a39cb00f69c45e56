"""Another user of the machine listens where 'crag-user connect' did, to read questions."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from crag_core.errors import PolicyDenied
from crag_core.gateway.ownership import listeners
from crag_user.ask import _proxy


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ones_own_proxy_is_used(port: int) -> None:
    assert listeners(port) == {os.geteuid()}
    endpoint = _proxy(f"http://127.0.0.1:{port}")
    assert endpoint is not None
    assert endpoint.port == port


def test_a_strangers_proxy_is_refused(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = os.geteuid() + 4242
    monkeypatch.setattr("crag_user.ask.listeners", lambda _port: {stranger})
    with pytest.raises(PolicyDenied, match=f"uid {stranger}"):
        _proxy(f"127.0.0.1:{port}")


def test_nobody_listens_on_a_free_port() -> None:
    with socket.socket() as taken:  # bound, but not listening
        taken.bind(("127.0.0.1", 0))
        assert listeners(taken.getsockname()[1]) == set()
