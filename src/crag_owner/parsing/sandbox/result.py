"""The answer of a child, and its check: the parent takes nothing from it on trust."""

from __future__ import annotations

import json
from typing import Any

from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.sandbox.limits import MIB, SandboxLimits

_MAX_REASON = 300
_MAX_HEADING = 1000
_MAX_METADATA = 64
CRASHED = "cannot be parsed: its parser gave an answer that makes no sense"


def encode(document: ParsedDocument, limits: SandboxLimits) -> bytes:
    """The answer to a file that could be parsed.

    Characters that no database takes (NUL, lone surrogates) are replaced by U+FFFD.

    Raises:
        Unreadable: no text, or more than the limits allow.
    """
    sections = []
    size = 0
    for section in document.sections:
        text = _clean(section.text)
        if not text.strip():
            continue
        size += len(text.encode())
        if size > limits.text:
            raise Unreadable(f"holds more than {limits.text / MIB:g} MiB of text")
        if len(text) > limits.line and any(len(line) > limits.line for line in text.split("\n")):
            raise Unreadable(f"holds a line of more than {limits.line / MIB:g} MiB")
        sections.append([text, _clean(section.heading)[:_MAX_HEADING], section.page])
    if not sections:
        raise Unreadable("is empty")
    if len(sections) > limits.sections:
        raise Unreadable(f"holds more than {limits.sections} sections")
    metadata = {
        _clean(key)[:_MAX_HEADING]: _clean(value)[:_MAX_HEADING]
        for key, value in list(document.metadata.items())[:_MAX_METADATA]
    }
    answer = {
        "sections": sections,
        "metadata": metadata,
        "missing": _clean(document.missing)[:_MAX_REASON],
    }
    return json.dumps(answer, ensure_ascii=False).encode()


def encode_refusal(reason: str) -> bytes:
    """The answer to a file that could not be parsed."""
    return json.dumps({"unreadable": _clean(reason)[:_MAX_REASON]}, ensure_ascii=False).encode()


def decode(answer: bytes, limits: SandboxLimits) -> ParsedDocument:
    """The document of an answer.

    Raises:
        Unreadable: the child's own reason, or an answer that breaks its form or the limits.
    """
    try:
        data = json.loads(answer.decode("utf-8"))
        if isinstance(data, dict) and isinstance(data.get("unreadable"), str):
            refused = Unreadable(_printable(data["unreadable"]))
        else:
            return _document(data, limits)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Unreadable(CRASHED) from None
    raise refused


def _document(data: Any, limits: SandboxLimits) -> ParsedDocument:
    found = data["sections"]
    if not isinstance(found, list) or not 0 < len(found) <= limits.sections:
        raise ValueError
    sections = []
    for text, heading, page in found:
        whole = page is None or (type(page) is int and 0 < page < 2**31)
        if not isinstance(text, str) or not isinstance(heading, str) or not whole:
            raise ValueError
        if len(heading) > _MAX_HEADING or _clean(text) != text or _clean(heading) != heading:
            raise ValueError
        if len(text) > limits.line and any(len(line) > limits.line for line in text.split("\n")):
            raise ValueError
        sections.append(Section(text, heading, page))
    metadata = {str(key): str(value) for key, value in dict(data["metadata"]).items()}
    if any(_clean(part) != part for pair in metadata.items() for part in pair):
        raise ValueError
    missing = data["missing"]
    if not isinstance(missing, str):
        raise TypeError
    return ParsedDocument(sections, metadata, _printable(missing) if missing else "")


def _clean(text: str) -> str:
    text = text.replace("\x00", "\ufffd")
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _printable(reason: str) -> str:
    """A reason goes to a terminal: nothing in it may steer one."""
    return "".join(c if c.isprintable() else "?" for c in reason[:_MAX_REASON]) or CRASHED
