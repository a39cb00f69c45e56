"""The Trustee stops affirming a service that is in the middle of an answer without end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from support.poll import until
from support.revocation import ONE_REQUEST, ROTATION, TURNS, Served, served
from support.streams import Stream
from support.trustee import Place
from support.user import connected

EVERY = ("--recheck", str(ROTATION))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Served]:
    with Stream() as stream, served(tmp_path, stream) as made:
        yield made


def read(pieces: Iterator[bytes], deadline: float) -> None:
    """Read to the end, which must come before ``deadline`` on the monotonic clock."""
    for _ in pieces:
        assert time.monotonic() <= deadline


def test_a_streaming_answer_goes_on_while_the_trustee_affirms(
    there: Served, tmp_path: Path
) -> None:
    with connected(there.as_world(), tmp_path, *EVERY) as link, link.client() as client:
        begun = time.monotonic()
        with client.stream("GET", f"{there.url}/endless") as answer:
            for _ in answer.iter_raw():
                if time.monotonic() - begun > 2.5 * ROTATION:
                    break
        assert answer.status_code == 200


@pytest.mark.parametrize("turn", TURNS)
def test_a_streaming_answer_is_cut_within_twice_the_interval_of_a_revocation(
    there: Served, tmp_path: Path, turn: Callable[[Place], None]
) -> None:
    with connected(there.as_world(), tmp_path, *EVERY) as link, link.client() as client:
        with client.stream("GET", f"{there.url}/endless") as answer:
            pieces = answer.iter_raw()
            next(pieces)
            turn(there.place)
            turned = time.monotonic()
            with pytest.raises(httpx.TransportError):  # broken off, not ended
                read(pieces, turned + 2 * ROTATION + ONE_REQUEST)
        assert time.monotonic() <= turned + 2 * ROTATION + ONE_REQUEST
        assert until(there.backend.broken.is_set, 10, "the end of the service's stream")
        # Nothing passes on the verdict that TNG still holds.
        refused = client.get(f"{there.url}/")
        assert refused.status_code in (502, 504)
        assert "cut off: the service could not prove itself again" in link.end()[2]
