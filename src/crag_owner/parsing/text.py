"""Plain text."""

from __future__ import annotations

from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable


def require_text(text: str) -> str:
    """``text`` itself.

    Raises:
        Unreadable: nothing but white space.
    """
    if not text.strip():
        raise Unreadable("is empty")
    return text


class TextParser:
    """``.txt``: one section, no heading."""

    name = "text/2"
    suffixes = (".txt", ".text", ".log")
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """Decode the whole file; see :func:`crag_owner.parsing.encoding.decode`."""
        return ParsedDocument([Section(require_text(decode(data)))])
