"""What the guard answers by itself: always a sentence, and the error as the contract has it."""

from __future__ import annotations

import html
import json

from crag_core.errors import (
    AttestationRejected,
    CragError,
    IntegrityViolated,
    PolicyDenied,
    Unreachable,
    UsageError,
)
from crag_user.guard.heads import Headers, marks

REFUSED_HEADER = b"x-crag-refused"
_STATUS: tuple[tuple[type[CragError], int], ...] = (
    (PolicyDenied, 403),
    (UsageError, 400),
    (AttestationRejected, 502),
    (IntegrityViolated, 502),
    (Unreachable, 504),
)


def status_of(error: CragError) -> int:
    """The HTTP status for ``error``; 502 for what the guard could not get done."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 502)


def reply(
    error: CragError, *, accept: bytes = b"", insecure: bool = False
) -> tuple[Headers, bytes]:
    """Headers and body for ``error``: HTML for a browser, else the contract's error object.

    Args:
        accept: the request's Accept header.
    """
    if b"text/html" in accept.lower():
        kind = b"text/html; charset=utf-8"
        body = _page(error)
    else:
        kind = b"application/json"
        body = json.dumps(error.as_json(), ensure_ascii=False).encode()
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'"),
        (REFUSED_HEADER, error.code.encode("ascii", "replace")),
        *marks(insecure=insecure),
    ]
    return headers, body


def _page(error: CragError) -> bytes:
    message, hint = html.escape(error.message), html.escape(error.hint)
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>crag refused this</title>"
        f"<h1>Refused</h1><p>{message}</p><p>{hint}</p></html>"
    ).encode()


_EXITS: dict[int, type[CragError]] = {
    kind.exit_code: kind
    for kind in (UsageError, AttestationRejected, PolicyDenied, IntegrityViolated, Unreachable)
}


def error_from(body: bytes) -> CragError:
    """The error that a guard's JSON body describes, so that a command ends with its exit code."""
    try:
        told = json.loads(body)["error"]
        kind = _EXITS.get(int(told["exit"]), CragError)
        return kind(str(told["message"]), hint=str(told["hint"]), code=str(told["code"]))
    except (ValueError, KeyError, TypeError):
        return CragError("The gateway refused the request without saying why.")
