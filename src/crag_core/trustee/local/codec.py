"""Strict readers of what arrives on the wire: base64url without padding, and JSON objects."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NoReturn

MAX_DEPTH = 32
_B64URL = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


class Malformed(ValueError):
    """Input that doesn't follow its grammar; the text names the rule, never the input."""


def b64url_encode(data: bytes) -> str:
    """Base64url without padding (RFC 4648 section 5, RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def b64url_decode(text: object) -> bytes:
    """The bytes of canonical, unpadded base64url.

    Raises:
        Malformed: not a string, another alphabet, padding, or stray bits at the end.
    """
    if not isinstance(text, str) or not _B64URL.fullmatch(text):
        raise Malformed("not base64url without padding")
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise Malformed("not base64url without padding") from None
    if b64url_encode(data) != text:
        raise Malformed("not canonical base64url")
    return data


def _no_constants(_name: str) -> NoReturn:
    raise Malformed("JSON numbers must be finite")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("a JSON object names the same member twice")
    return found


def read_object(data: bytes | str) -> dict[str, Any]:
    """The JSON object in ``data``: UTF-8, no duplicate members, no NaN, no lone surrogates.

    Nothing may be nested deeper than 32 levels.

    Raises:
        Malformed: ``data`` is anything else.
    """
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        found = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
        # A lone surrogate can be written as an escape, but has no UTF-8 form to be hashed.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except Malformed:
        raise
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(found, dict):
        raise Malformed("not a JSON object")
    _check_depth(found, MAX_DEPTH)
    return found


def _check_depth(value: Any, left: int) -> None:
    if not isinstance(value, (dict, list)):
        return
    if left == 0:
        raise Malformed(f"JSON nested deeper than {MAX_DEPTH} levels")
    for member in value.values() if isinstance(value, dict) else value:
        _check_depth(member, left - 1)
