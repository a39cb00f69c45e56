"""Reference values: what measured workloads may look like, by name; ``reference-values.json``."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from crag_core.trustee.local.codec import Malformed, read_object
from crag_core.trustee.local.folder import Folder

FILE = "reference-values.json"
MAX_VALUES = 4096
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/ -]{0,199}", re.ASCII)
_VALUE = re.compile(r"[\x20-\x7e]{1,512}", re.ASCII)

Values = dict[str, list[str]]


class ReferenceValues:
    """Lists of accepted strings by name; a name that is missing accepts nothing."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def all(self) -> Values:
        """Every name and its values.

        Raises:
            Malformed: the file on disk is not what this class writes.
        """
        data = self._folder.read(FILE)
        return {} if data is None else checked(read_object(data))

    def register(self, values: Values) -> None:
        """Replace the values of each name in ``values``; an empty list takes the name away."""
        with self._folder.writing() as writer:
            kept = {name: v for name, v in {**self.all(), **values}.items() if v}
            writer.write(json.dumps(kept, indent=1, sort_keys=True).encode(), FILE)

    def delete(self, name: str) -> bool:
        """Take a name away; False where there was none."""
        with self._folder.writing() as writer:
            kept = self.all()
            if kept.pop(name, None) is None:
                return False
            writer.write(json.dumps(kept, indent=1, sort_keys=True).encode(), FILE)
        return True


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


def read_message(message: object) -> Values:
    """The values in an RVPS message of type ``sample``: JSON whose payload is base64 of JSON.

    Raises:
        Malformed: another version, another type, or not reference values.
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
    return checked(read_object(data))
