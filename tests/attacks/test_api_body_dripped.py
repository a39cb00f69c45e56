"""A client opens requests to the service and drips their bodies, to hold its connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from crag_provider.api.limits import Limits


async def _read_whole(scope: Any, receive: Any, send: Any) -> None:
    del scope
    while (await receive()).get("more_body"):
        pass
    done = asyncio.ensure_future(receive())  # as frameworks do, to learn that the caller left
    await asyncio.sleep(0.2)
    still_open = not done.done()
    done.cancel()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(still_open).encode()})


def _run(pieces: list[bytes], pause: float) -> list[Any]:
    sent: list[Any] = []
    left = list(pieces)

    async def receive() -> Any:
        if not left:
            await asyncio.Event().wait()
        await asyncio.sleep(pause)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        app = Limits(_read_whole, insecure=True, seconds=0.1)
        await asyncio.wait_for(app({"type": "http"}, receive, send), 5)

    asyncio.run(main())
    return sent


def test_a_dripping_body_is_cut_off() -> None:
    start, body = _run([b"x"] * 1000, 0.01)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert json.loads(body["body"])["error"]["code"] == "too-slow"


@pytest.mark.parametrize("pieces", [[b""], [b"{", b"}"]])
def test_a_whole_body_has_all_the_time_for_its_answer(pieces: list[bytes]) -> None:
    start, body = _run(pieces, 0)
    assert start["status"] == 200
    assert body["body"] == b"true"
