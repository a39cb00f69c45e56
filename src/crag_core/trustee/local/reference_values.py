"""Reference values: what measured workloads may look like, by name, each until it expires.

Kept in ``reference-values.json``: ``{"format", "values": {name: {"values": [...], "expires"}}}``,
``expires`` in unix seconds. Like in the real Trustee, a registration without a time lasts a year.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crag_core.trustee.local.codec import Malformed, read_object
from crag_core.trustee.local.folder import Folder

FILE = "reference-values.json"
FORMAT = "crag/reference-values/v1"
MAX_VALUES = 4096
YEAR = 365 * 86_400
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,199}", re.ASCII)
_VALUE = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)
_LATEST = 1 << 40

Values = dict[str, list[str]]


@dataclass(frozen=True)
class Registration:
    """Values by name, and when they expire (unix seconds)."""

    values: Values
    expires: int


class ReferenceValues:
    """Lists of accepted strings by name; a name that is missing or has expired accepts nothing."""

    def __init__(self, folder: Folder, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def all(self) -> Values:
        """Every name that has not expired, and its values.

        Raises:
            Malformed: the file on disk is not what this class writes.
        """
        now = self._clock()
        return {name: values for name, (values, expires) in self._read().items() if now < expires}

    def expiries(self) -> dict[str, int]:
        """When each name expires or has expired, in unix seconds."""
        return {name: expires for name, (_values, expires) in self._read().items()}

    def register(self, values: Values, expires: int | None = None) -> None:
        """Replace the values of each name in ``values``; an empty list takes the name away."""
        until = int(self._clock()) + YEAR if expires is None else expires
        with self._folder.writing() as writer:
            kept = {**self._read(), **{name: (found, until) for name, found in values.items()}}
            writer.write(_write({name: entry for name, entry in kept.items() if entry[0]}), FILE)

    def delete(self, name: str) -> bool:
        """Take a name away; False where there was none."""
        with self._folder.writing() as writer:
            kept = self._read()
            if kept.pop(name, None) is None:
                return False
            writer.write(_write(kept), FILE)
        return True

    def _read(self) -> dict[str, tuple[list[str], int]]:
        data = self._folder.read(FILE)
        if data is None:
            return {}
        found = read_object(data)
        if found.get("format") != FORMAT:
            # An earlier form: names to lists, without a time.
            until = int(self._clock()) + YEAR
            return {name: (values, until) for name, values in checked(found).items()}
        entries = found.get("values")
        if not isinstance(entries, dict):
            raise Malformed(f"{FILE} has no values")
        return {name: _entry(name, entry) for name, entry in entries.items()}


def _entry(name: str, entry: object) -> tuple[list[str], int]:
    if not isinstance(entry, Mapping) or not _time(entry.get("expires")):
        raise Malformed(f"{FILE} has an entry without a time")
    return checked({name: entry.get("values")})[name], int(entry["expires"])


def _write(entries: Mapping[str, tuple[list[str], int]]) -> bytes:
    values = {name: {"values": v, "expires": at} for name, (v, at) in entries.items()}
    return json.dumps({"format": FORMAT, "values": values}, indent=1, sort_keys=True).encode()


def _time(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LATEST


def checked(found: dict[str, Any]) -> Values:
    """``found`` as reference values: names to lists of printable ASCII strings.

    Raises:
        Malformed: another shape.
    """
    for name, values in found.items():
        if not _NAME.fullmatch(name):
            raise Malformed("a reference value's name has characters that are not allowed")
        if not isinstance(values, list) or len(values) > MAX_VALUES:
            raise Malformed(f"reference values are lists of at most {MAX_VALUES} strings")
        if not all(isinstance(value, str) and _VALUE.fullmatch(value) for value in values):
            raise Malformed("a reference value is a string of 1 to 512 printable ASCII characters")
    return found


def read_message(message: object, now: float) -> Registration:
    """The values in an RVPS message of type ``sample``: JSON whose payload is base64 of JSON.

    The message may have a member of ours, ``expires`` (``2027-01-31T00:00:00Z``); servers that
    don't know it ignore it.

    Raises:
        Malformed: another version, another type, not reference values, or a time that has passed.
    """
    if not isinstance(message, str):
        raise Malformed("the message is not a string")
    envelope = read_object(message)
    if envelope.get("version") != "0.1.0" or envelope.get("type") != "sample":
        raise Malformed("only RVPS messages of version 0.1.0 and type sample are understood")
    payload = envelope.get("payload")
    try:
        data = base64.b64decode(payload if isinstance(payload, str) else "?", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("the payload is not base64") from None
    return Registration(checked(read_object(data)), _expires(envelope, now))


def _expires(envelope: Mapping[str, Any], now: float) -> int:
    text = envelope.get("expires")
    if text is None:
        return int(now) + YEAR
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (TypeError, ValueError):
        raise Malformed("expires is not of the form 2027-01-31T00:00:00Z") from None
    if moment.timestamp() <= now:
        raise Malformed("expires has passed already")
    return int(moment.timestamp())
