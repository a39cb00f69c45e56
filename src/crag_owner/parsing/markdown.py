"""Markdown: sections by its headings, everything else left as it is written.

Headings as in CommonMark 0.31, sections 4.2 (ATX) and 4.3 (setext, one line of text only), and not
inside fenced code (4.5).
"""

from __future__ import annotations

import re

from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section
from crag_owner.parsing.sections import SectionBuilder
from crag_owner.parsing.text import require_text

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
# A line under which "---" is a rule, not an underline: blank, quote, list, heading, code, table.
_NO_TITLE = re.compile(
    r"\s*$| {0,3}(?:>|[-+*][ \t]|\d{1,9}[.)][ \t]|#{1,6}(?:[ \t]|$))| {4}|\t|.*\|"
)


class _Fence:
    """Whether the line at hand lies in fenced code."""

    def __init__(self) -> None:
        self._open = ""

    def covers(self, line: str) -> bool:
        """Take the next line; true if it belongs to a fence (its marks included)."""
        match = _FENCE.match(line)
        if self._open:
            closes = match is not None and match[1].startswith(self._open) and not match[2].strip()
            if closes:
                self._open = ""
            return True
        if match is None or (match[1][0] == "`" and "`" in match[2]):
            return False
        self._open = match[1]
        return True


def split_sections(text: str) -> list[Section]:
    """The sections of Markdown ``text``; each begins with its own heading line.

    Time and memory grow with the length of the text only.
    """
    sections, fence = SectionBuilder(), _Fence()
    in_paragraph = one_line = False
    for line in text.split("\n"):
        if fence.covers(line):
            sections.line(line)
            in_paragraph = one_line = False
        elif atx := _ATX.match(line):
            sections.heading(len(atx[1]), _without_closing(atx[2] or ""))
            sections.line(line, body=False)
            in_paragraph = one_line = False
        elif one_line and (setext := _SETEXT.match(line)):
            title = sections.take_back()
            sections.heading(1 if setext[1][0] == "=" else 2, title.strip())
            sections.line(title, body=False)
            sections.line(line, body=False)
            in_paragraph = one_line = False
        else:
            one_line = not in_paragraph and not _NO_TITLE.match(line)
            in_paragraph = bool(line.strip())
            sections.line(line)
    sections.flush()
    return sections.done


def _without_closing(title: str) -> str:
    """The title of an ATX heading without its closing run of ``#``."""
    title = title.strip()
    bare = title.rstrip("#")
    return bare.rstrip() if not bare or bare[-1] in " \t" else title


class MarkdownParser:
    """``.md``: one section for each heading that has text below it."""

    name = "markdown/2"
    suffixes = (".md", ".markdown")
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """Decode and split the whole file; see :func:`split_sections`."""
        return ParsedDocument(split_sections(require_text(decode(data))))
