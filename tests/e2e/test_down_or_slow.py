"""A service that is down or silent costs a bounded time and exit 75."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from support import leftovers
from support.house import House


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []
    done = threading.Event()

    def accept() -> None:
        listener.settimeout(0.2)
        while not done.is_set():
            try:
                held.append(listener.accept()[0])
            except TimeoutError:
                continue

    thread = threading.Thread(target=accept)
    thread.start()
    yield int(listener.getsockname()[1])
    done.set()
    thread.join()
    for one in held:
        one.close()
    listener.close()


@pytest.mark.parametrize("role", ["owner", "provider"])
def test_trustee_down_keeps_the_provider_from_serving(house: House, role: str) -> None:
    name = {"owner": "CRAG_PROVIDER_ALT_TRUSTEE_URL", "provider": "CRAG_PROVIDER_TRUSTEE_URL"}[role]
    nobody = f"http://127.0.0.1:{leftovers.free_port()}/api"
    party = house.variant("provider", **{name: nobody})
    house.pin(party)
    code, error = house.refused(party)
    assert code == 75
    assert nobody.split("/")[2] in str(error)


def test_silent_trustee_is_given_up(house: House, silent: int) -> None:
    party = house.variant(
        "provider", CRAG_PROVIDER_ALT_TRUSTEE_URL=f"http://127.0.0.1:{silent}/api"
    )
    house.pin(party)
    code, _ = house.refused(party)
    assert code == 75


@pytest.mark.parametrize("command", [("verify",), ("search", "anything"), ("list",)])
def test_database_down_is_said_by_the_owner(house: House, command: tuple[str, ...]) -> None:
    url = f"postgresql://rag@127.0.0.1:{leftovers.free_port()}/crag"
    code, answer, _ = house.variant("owner", CRAG_DB_URL=url).attempt(*command, seconds=60)
    assert code == 75
    assert "127.0.0.1" in answer["error"]["message"]


def test_silent_database_is_given_up(house: House, silent: int) -> None:
    url = f"postgresql://rag@127.0.0.1:{silent}/crag"
    code, _, _ = house.variant("owner", CRAG_DB_URL=url).attempt("verify", seconds=60)
    assert code == 75


def test_database_down_keeps_the_provider_from_serving(house: House) -> None:
    url = f"postgresql://rag@127.0.0.1:{leftovers.free_port()}/crag"
    code, _ = house.refused(house.variant("provider", CRAG_DB_URL=url))
    assert code == 75


@pytest.mark.parametrize("command", ["verify", "ask"])
def test_egress_down_is_said_by_the_user(house: House, command: str) -> None:
    url = f"http://127.0.0.1:{leftovers.free_port()}"
    arguments = ("ask", "anything", "--url", url) if command == "ask" else ("verify", url)
    code, answer, _ = house.user.attempt(*arguments, seconds=90)
    assert code == 75, answer


def test_silent_egress_is_given_up(house: House, silent: int) -> None:
    code, _, _ = house.user.attempt("verify", f"http://127.0.0.1:{silent}", seconds=120)
    assert code == 75


def test_user_trustee_down_is_said(house: House, service: str) -> None:
    nobody = f"http://127.0.0.1:{leftovers.free_port()}/api"
    code, _, _ = house.variant("user", CRAG_USER_TRUSTEE=nobody).attempt(
        "verify", service, seconds=90
    )
    assert code == 75
