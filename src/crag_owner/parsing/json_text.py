"""``.json`` and ``.jsonl``: names and values as indented lines, braces left out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.text import require_text

_MAX_DEPTH = 200


class JsonParser:
    """RFC 8259. The members of a top-level object that hold something are sections."""

    name = "json/1"
    suffixes = (".json",)
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """Records of an array, and of arrays in it, are divided by blank lines."""
        value = _load(require_text(decode(data)), "")
        if not isinstance(value, dict):
            return ParsedDocument([Section(_render(value))])
        sections: list[Section] = []
        loose: dict[str, Any] = {}
        for key, member in value.items():
            if _holds(member):
                sections.append(Section(_render(member), str(key)))
            else:
                loose[key] = member
        if loose:
            sections.insert(0, Section(_render(loose)))
        return ParsedDocument(sections)


class JsonLinesParser:
    """One JSON value a line; blank lines are left out."""

    name = "jsonl/1"
    suffixes = (".jsonl", ".ndjson")
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """One section: the records, divided by blank lines."""
        text = require_text(decode(data))
        records = [
            _render(_load(line, f" in line {number}"))
            for number, line in enumerate(text.split("\n"), 1)
            if line.strip()
        ]
        return ParsedDocument([Section("\n\n".join(records))])


def _load(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = where or f" in line {error.lineno}"
        raise Unreadable(f"is not JSON{place}, column {error.colno}") from None
    except ValueError:
        raise Unreadable(f"holds a number that is too long{where}") from None
    except RecursionError:
        raise Unreadable("is nested too deeply") from None


def _render(value: Any) -> str:
    return "\n".join(_lines(value, 0, 0))


def _lines(value: Any, indent: int, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise Unreadable("is nested too deeply")
    pad = "  " * indent
    if isinstance(value, dict) and value:
        for key, member in value.items():
            if _holds(member):
                yield f"{pad}{key}:"
                yield from _lines(member, indent + 1, depth + 1)
            else:
                yield f"{pad}{key}: {_scalar(member)}"
    elif isinstance(value, list) and value:
        for number, member in enumerate(value):
            if _holds(member):
                if number:
                    yield ""
                yield from _lines(member, indent, depth + 1)
            else:
                yield f"{pad}{_scalar(member)}"
    else:
        yield f"{pad}{_scalar(value)}"


def _holds(value: Any) -> bool:
    return isinstance(value, (dict, list)) and bool(value)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
