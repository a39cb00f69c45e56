"""Request bodies: kept while small, streamed when large, never sent twice by accident."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_user.guard.body import REPLAY_LIMIT, Body


def source(pieces: list[bytes], length: int | None = None) -> Body:
    left = list(pieces)

    async def pull() -> bytes:
        return left.pop(0) if left else b""

    return Body(pull, length)


async def collect(body: Body) -> bytes:
    return b"".join([piece async for piece in body.chunks()])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20))
def test_a_small_body_can_be_sent_again(pieces: list[bytes]) -> None:
    async def run() -> None:
        body = source(pieces)
        await body.prefetch()
        assert body.replayable and body.consumed
        assert await collect(body) == await collect(body) == b"".join(pieces)

    asyncio.run(run())


def test_a_large_body_is_passed_on_whole_but_only_once() -> None:
    async def run() -> None:
        pieces = [bytes([n]) * 300_000 for n in range(8)]
        body = source(pieces)
        await body.prefetch()
        assert not body.replayable and not body.consumed
        assert await collect(body) == b"".join(pieces)
        assert body.consumed and not body.replayable
        with pytest.raises(RuntimeError, match="twice"):
            await collect(body)

    asyncio.run(run())
    assert REPLAY_LIMIT < 8 * 300_000


def test_no_body_is_not_asked_for() -> None:
    async def run() -> None:
        async def pull() -> bytes:
            raise AssertionError("nothing is to be read")

        body = Body(pull, 0)
        await body.prefetch()
        assert body.replayable and await collect(body) == b""

    asyncio.run(run())
