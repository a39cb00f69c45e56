"""Answers that come piece by piece, and clients that go away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.gateway import World, world
from support.poll import until
from support.streams import Stream
from support.user import connected


@pytest.fixture
def stream() -> Iterator[Stream]:
    with Stream() as made:
        yield made


@pytest.fixture
def there(stream: Stream) -> Iterator[World]:
    with world() as made:
        made.backend.stop()
        made.backend.port = stream.port
        made.start_egress()
        yield made


def test_each_event_arrives_before_the_next_one_is_made(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with (
        connected(there, tmp_path) as link,
        link.client() as client,
        client.stream("GET", f"{there.service.url}/") as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: first\n\n"
        assert not stream.go_on.is_set()
        stream.go_on.set()
        assert b"".join(pieces) == b"data: second\n\n"


def test_a_client_that_leaves_stops_the_service(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with connected(there, tmp_path) as link, link.client() as client:
        with client.stream("GET", f"{there.service.url}/endless") as answer:
            next(answer.iter_raw())
        assert until(stream.broken.is_set, 10, "the end of the service's stream")


def test_an_answer_that_breaks_off_is_not_taken_for_a_whole_one(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with (
        connected(there, tmp_path) as link,
        link.client() as client,
        client.stream("GET", f"{there.service.url}/cut") as answer,
    ):
        pieces = answer.iter_raw()
        assert next(pieces) == b"data: first\n\n"
        stream.go_on.set()
        with pytest.raises(httpx.TransportError):
            list(pieces)


def test_a_signal_ends_it_within_seconds_while_an_answer_streams(
    there: World, stream: Stream, tmp_path: Path
) -> None:
    with connected(there, tmp_path) as link, link.client() as client:
        with client.stream("GET", f"{there.service.url}/endless") as answer:
            next(answer.iter_raw())
            code, _, err = link.end(10)
        assert code == 0
        assert "Traceback" not in err
