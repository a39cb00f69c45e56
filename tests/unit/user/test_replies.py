"""What the guard says when it refuses."""

from __future__ import annotations

import json

import pytest

from crag_core.errors import (
    AttestationRejected,
    CragError,
    PolicyDenied,
    Unreachable,
    UsageError,
)
from crag_user.guard.replies import error_from, reply, status_of


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PolicyDenied("x"), 403),
        (UsageError("x"), 400),
        (AttestationRejected("x"), 502),
        (Unreachable("x"), 504),
        (CragError("x"), 502),
    ],
)
def test_each_error_has_a_status_and_keeps_its_exit_code(error: CragError, status: int) -> None:
    assert status_of(error) == status
    _, body = reply(error)
    back = error_from(body)
    assert (type(back), back.message, back.code) == (type(error), "x", error.code)


def test_a_browser_gets_a_page_in_which_nothing_is_markup() -> None:
    error = AttestationRejected("<script>alert(1)</script>", hint="<b>&")
    headers, body = reply(error, accept=b"text/html,application/xhtml+xml", insecure=True)
    assert b"<script>" not in body and b"&lt;script&gt;" in body
    assert (b"x-crag-evidence", b"insecure") in headers
    assert (b"content-length", str(len(body)).encode()) in headers


def test_a_program_gets_the_error_of_the_contract() -> None:
    headers, body = reply(PolicyDenied("no", hint="yes"), accept=b"*/*")
    assert json.loads(body)["error"]["exit"] == 11
    assert (b"cache-control", b"no-store") in headers
    assert not any(name == b"x-crag-evidence" for name, _ in headers)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"error":1}', b"\xff", b'{"error":{}}'])
def test_a_reply_that_is_none_of_ours_is_still_an_error(body: bytes) -> None:
    assert error_from(body).exit_code == 1
