"""reStructuredText: sections by its titles, everything else left as it is written.

Titles as in the reStructuredText specification, "Sections": underlined, or over- and underlined, by
one repeated punctuation character; levels in the order in which the styles appear. No directive is
carried out, so nothing is included from elsewhere.
"""

from __future__ import annotations

import re
import unicodedata

from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section
from crag_owner.parsing.sections import SectionBuilder
from crag_owner.parsing.text import require_text

_ADORNMENT = re.compile(r"([!-/:-@\[-`{-~])\1*[ \t]*$")


def _adornment(line: str) -> str:
    """The character of an adornment line, empty if ``line`` is none."""
    match = _ADORNMENT.match(line)
    return match[1] if match else ""


def _width(text: str) -> int:
    """Columns, as docutils counts them: wide characters are two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def split_rst(text: str) -> list[Section]:
    """The sections of reStructuredText; each begins with its own title."""
    lines = [line.rstrip() for line in text.split("\n")]
    sections, styles = SectionBuilder(), list[str]()
    at = 0
    while at < len(lines):
        taken, style = _title(lines, at)
        if not taken:
            sections.line(lines[at])
            at += 1
            continue
        if style not in styles:
            styles.append(style)
        title = lines[at + taken - 2].strip()
        sections.heading(styles.index(style) + 1, title)
        for line in lines[at : at + taken]:
            sections.line(line, body=False)
        at += taken
    sections.flush()
    return sections.done


def _title(lines: list[str], at: int) -> tuple[int, str]:
    """How many lines a title that begins at ``at`` takes, and its style; 0 if none does."""
    if at and lines[at - 1] and not _adornment(lines[at - 1]):
        return 0, ""
    over = _adornment(lines[at])
    if over and at + 2 < len(lines) and lines[at + 1] and lines[at + 2] == lines[at]:
        if _width(lines[at + 1].strip()) <= len(lines[at]):
            return 3, over + over
        return 0, ""
    if over or not lines[at] or lines[at][0] in " \t" or at + 1 >= len(lines):
        return 0, ""
    under = _adornment(lines[at + 1])
    enough = len(lines[at + 1]) >= min(4, _width(lines[at]))
    after = lines[at + 2] if at + 2 < len(lines) else ""
    if under and enough and not _adornment(after) and len(lines[at + 1]) >= _width(lines[at]):
        return 2, under
    return 0, ""


class RstParser:
    """``.rst``: one section for each title that has text below it."""

    name = "rst/1"
    suffixes = (".rst", ".rest")
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """Decode and split the whole file; see :func:`split_rst`."""
        return ParsedDocument(split_rst(require_text(decode(data))))
