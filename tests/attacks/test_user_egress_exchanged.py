"""Somebody on the wire, or the provider, puts another server where the verified one was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.gateway.config import EgressConfig
from crag_core.gateway.endpoint import Endpoint
from crag_core.gateway.process import Tng
from support.gateway import World, world
from support.small_as import Backend, Http, SmallAttester
from support.user import Connected, connected

SECRET = b"the-question-nobody-else-may-read"


@pytest.fixture
def there() -> Iterator[World]:
    with world() as made:
        yield made


class Recorder(Http):
    """A plain server on the egress's own port that keeps every byte of every request."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.heard: list[bytes] = []

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        self.heard.append(f"{method} {path}\n".encode() + body)
        return 200, "application/json", b"{}"


class NoAttestation(EgressConfig):
    """The real TNG, told not to attest."""

    def document(self, anchor_paths: tuple[str, ...] = ()) -> dict[str, object]:
        document = super().document(anchor_paths)
        del document["add_egress"][0]["attest"]
        document["add_egress"][0]["no_ra"] = True
        return document


def ask(link: Connected, there: World) -> tuple[int, str]:
    """Two questions over the running connection; the second answer's status and text."""
    with link.client() as client:
        for _ in range(2):
            answer = client.post(
                f"{there.service.url}/{SECRET.decode()}", content=SECRET, headers={"x-s": "s"}
            )
    return answer.status_code, answer.text


def test_a_plain_server_hears_nothing_of_a_question(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path) as link:
        there.stop_egress()
        with Recorder(there.service.port) as plain:
            status, text = ask(link, there)
        assert status in (502, 504)
        assert "is refused" in text
        assert plain.heard
        assert not any(SECRET in heard for heard in plain.heard)


def test_an_egress_that_does_not_attest_hears_nothing(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path) as link, Backend() as thief:
        there.stop_egress()
        changed = {"backend": Endpoint("127.0.0.1", thief.port)}
        config = NoAttestation(**{**vars(there.egress_config(there.service)), **changed})
        with Tng(config):
            status, text = ask(link, there)
        assert status == 502
        assert "does not attest" in text
        assert thief.seen == []


def test_an_egress_with_other_software_hears_nothing(there: World, tmp_path: Path) -> None:
    """It attests, but the Trustee does not know what it measured."""
    with connected(there, tmp_path) as link, Backend() as thief:
        there.stop_egress()
        there.trustee.status = "contraindicated"
        changed = {"backend": Endpoint("127.0.0.1", thief.port)}
        config = EgressConfig(**{**vars(there.egress_config(there.service)), **changed})
        with Tng(config):
            status, text = ask(link, there)
        assert status == 502
        assert "contraindicated" in text
        assert thief.seen == []


class Replayer(SmallAttester):
    """Shows evidence that was made for another key."""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        status, kind, answer = super().answer(method, path, body)
        if not hasattr(self, "kept"):
            self.kept = answer
        return (status, kind, self.kept if path.startswith("/aa/evidence") else answer)


def test_evidence_of_somebody_else_played_again_hears_nothing(there: World, tmp_path: Path) -> None:
    with connected(there, tmp_path) as link, Backend() as thief, Replayer() as replayer:
        with contextlib.suppress(Exception):
            import httpx

            httpx.get(f"{replayer.url}/aa/evidence?runtime_data=AAAA", trust_env=False)
        there.stop_egress()
        changed = {
            "backend": Endpoint("127.0.0.1", thief.port),
            "attester_url": replayer.url,
        }
        config = EgressConfig(**{**vars(there.egress_config(there.service)), **changed})
        with Tng(config):
            status, text = ask(link, there)
        assert status == 502
        assert "report data is not bound" in text
        assert thief.seen == []


def test_a_trustee_that_is_exchanged_convinces_nobody(there: World, tmp_path: Path) -> None:
    """The liar's AS affirms everything, under a certificate that is not the pinned one."""
    from support.small_as import Signer

    with connected(there, tmp_path) as link:
        there.trustee.signer = Signer()
        there.start_egress()
        status, text = ask(link, there)
        assert status == 502
        assert "not signed by the pinned certificate" in text
        assert not any(body == SECRET for _, _, body in there.backend.seen)
