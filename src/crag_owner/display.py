"""Text of documents and file names on a terminal, which somebody else may have chosen."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path


def printable(text: str) -> str:
    """``text`` with every control character but line ends and tabs shown as an escape.

    A document must not be able to move the cursor, rewrite the line above or set the title.
    """
    return "".join(char if _harmless(char) else repr(char)[1:-1] for char in text)


def _harmless(char: str) -> bool:
    # isprintable() leaves out every space but the ASCII one, and Chinese text has wide ones.
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def path_name(path: Path) -> str:
    """A path as text that can always be written: bytes that are no UTF-8 shown as escapes."""
    return printable(os.fsencode(path).decode("utf-8", "backslashreplace")).replace("\n", "\\n")


def is_unicode(text: str) -> bool:
    """Whether ``text`` can be encoded; the command line and file names may hold other bytes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
