"""Plain text: UTF-8, with or without a byte order mark."""

from __future__ import annotations

from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable


def decode(data: bytes) -> str:
    """``data`` as text with ``\\n`` line ends and without the byte order mark.

    Raises:
        Unreadable: not UTF-8, or a NUL byte in it (a binary file).
    """
    nul = data.find(b"\x00")
    if nul >= 0:
        raise Unreadable(f"holds a NUL byte at offset {nul}, so it is no text file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"is not UTF-8: byte {error.start} cannot be decoded") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


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

    name = "text/1"
    suffixes = (".txt", ".text")

    def parse(self, data: bytes) -> ParsedDocument:
        """Decode the whole file; see :func:`decode`."""
        return ParsedDocument([Section(require_text(decode(data)))])
