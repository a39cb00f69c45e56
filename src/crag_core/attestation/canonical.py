"""Canonical JSON and the report data that binds runtime data to evidence.

One object has one byte string: members sorted by name, no blanks, UTF-8 with nothing escaped that
JSON doesn't require. Trustee and TNG hash the same form, so a server recomputes what we hashed.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from crag_core.errors import BadInput

REPORT_DATA_BYTES = 48


def canonical_json(value: Any) -> bytes:
    """The canonical JSON of ``value``: objects, arrays, strings, integers, floats, booleans, null.

    Raises:
        BadInput: a member's name is not a string, a number is not finite, a string holds half a
            character, or a value has no JSON form.
    """
    _require_json(value, "$")
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise BadInput(
            "A string holds an unpaired surrogate and has no UTF-8 form.",
            hint="Pass well-formed Unicode text.",
        ) from None


def report_data(runtime_data: Any) -> bytes:
    """SHA-384 of the canonical JSON of ``runtime_data``: the 48 bytes that evidence carries.

    Sources: Trustee's RCAR handshake and TNG's attestation service requests, which both hash
    structured runtime data this way.

    Raises:
        BadInput: as :func:`canonical_json`.
    """
    return hashlib.sha384(canonical_json(runtime_data)).digest()


def _require_json(value: Any, where: str) -> None:
    if value is None or isinstance(value, (str, bool, int)):
        return
    if isinstance(value, float):
        if math.isfinite(value):
            return
        raise BadInput(f"{where} is not a finite number.", hint="JSON knows only finite numbers.")
    if isinstance(value, dict):
        for name, member in value.items():
            if not isinstance(name, str):
                raise BadInput(f"{where} has a member whose name is no string.", hint="Use text.")
            _require_json(member, f"{where}.{name}")
        return
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _require_json(item, f"{where}[{index}]")
        return
    raise BadInput(f"{where} is a {type(value).__name__}, which JSON does not know.", hint="")
