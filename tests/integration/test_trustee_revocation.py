"""Revocation, measured: real Trustee, real TNG on both sides, the user's own command between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.poll import until
from support.revocation import ONE_REQUEST, ROTATION, TURNS, Served, served
from support.small_as import Backend
from support.trustee import Place
from support.user import connected


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Served]:
    with Backend() as backend, served(tmp_path, backend) as made:
        yield made


@pytest.mark.parametrize("revoke", TURNS)
def test_a_running_connection_ends_within_twice_the_rotation_interval(
    there: Served, tmp_path: Path, revoke: Callable[[Place], None]
) -> None:
    with connected(there.as_world(), tmp_path) as link, link.client() as client:

        def ask() -> Any:
            return client.post(f"{there.url}/rag/query", content=b"q")

        # The connection is in use and its keys are not fresh when the verdict turns.
        begun = time.monotonic()
        until(lambda: ask().status_code == 200 and time.monotonic() - begun > 2, 20, "use")
        revoke(there.place)
        turned = time.monotonic()
        refused = until(lambda: (a := ask()).status_code != 200 and a, 30, "refusal")
        assert time.monotonic() - turned <= 2 * ROTATION + ONE_REQUEST
        assert refused.status_code in (502, 504)
        there.backend.seen.clear()
        for _ in range(5):
            assert ask().status_code in (502, 504)
        assert there.backend.seen == []
