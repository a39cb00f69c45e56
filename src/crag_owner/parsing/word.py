"""Word by python-docx: sections by heading styles, tables, footnotes; nothing deleted or hidden.

python-docx opens the package and names the styles. The text itself is read from the elements
(ECMA-376 part 1, section 17), because its paragraphs leave out content controls, insertions and
text boxes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crag_owner.parsing.archive import open_archive, refuse_document_types
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.sections import SectionBuilder
from crag_owner.parsing.tables import row_lines

if TYPE_CHECKING:
    from docx.document import Document

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_NOTES = ("footnotes", "endnotes")
_LEFT_OUT = frozenset((f"{_W}del", f"{_W}moveFrom", f"{_W}instrText", f"{_W}rPr", _FALLBACK))
_WHITE = {f"{_W}tab": "\t", f"{_W}br": "\n", f"{_W}cr": "\n", f"{_W}noBreakHyphen": "-"}
_HEADING = re.compile(r"(?:heading|überschrift|titre|标题|標題|見出し)\s*(\d)$", re.I)


class WordParser:
    """``.docx``."""

    name = "docx/1"
    suffixes = (".docx",)
    modules = ("docx.*", "lxml.etree")

    def parse(self, data: bytes) -> ParsedDocument:
        """Paragraphs and tables in order, then notes.

        Raises:
            Unreadable: no Word file, protected, damaged, a bomb, or empty.
        """
        with open_archive(data, "Word") as archive:
            refuse_document_types(archive)
        document = _open(data)
        sections = SectionBuilder()
        levels = _levels(document)
        for element in _blocks(document.element.body):
            if element.tag == f"{_W}tbl":
                for line in row_lines(_rows(element)):
                    sections.line(line)
                sections.blank()
            else:
                _paragraph(element, levels, sections)
        sections.flush()
        notes = list(_notes(document))
        if notes:
            sections.done.append(Section("\n".join(notes), "Notes"))
        title = str(document.core_properties.title or "").strip()
        return ParsedDocument(sections.done, {"title": title} if title else {})


def _open(data: bytes) -> Document:
    import docx
    from docx.opc.exceptions import OpcError
    from lxml.etree import LxmlError

    try:
        return docx.Document(io.BytesIO(data))
    except (OpcError, KeyError, ValueError, AttributeError, LxmlError):
        raise Unreadable("is a damaged Word file, or one with macros") from None


def _levels(document: Document) -> dict[str, int]:
    """Style id -> heading level, by the style's outline level or, failing that, its name."""
    levels = {}
    for style in document.styles.element.iter(f"{_W}style"):
        name = style.find(f"{_W}name")
        named = _HEADING.match(name.get(f"{_W}val", "")) if name is not None else None
        outline = style.find(f"{_W}pPr/{_W}outlineLvl")
        level = outline.get(f"{_W}val", "") if outline is not None else ""
        if level.isdigit() and int(level) < 9:
            levels[style.get(f"{_W}styleId", "")] = int(level) + 1
        elif named:
            levels[style.get(f"{_W}styleId", "")] = int(named[1])
        elif name is not None and name.get(f"{_W}val") == "Title":
            levels[style.get(f"{_W}styleId", "")] = 1
    return levels


def _blocks(parent: Any) -> Iterator[Any]:
    """Paragraphs and tables in order, also those in content controls."""
    waiting = [iter(parent)]
    while waiting:
        for element in waiting[-1]:
            if element.tag in (f"{_W}p", f"{_W}tbl"):
                yield element
            elif element.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins"):
                waiting.append(iter(element))
                break
        else:
            waiting.pop()


def _paragraph(element: Any, levels: dict[str, int], sections: SectionBuilder) -> None:
    text = _text(element)
    style = element.find(f"{_W}pPr/{_W}pStyle")
    own = element.find(f"{_W}pPr/{_W}outlineLvl")
    level = levels.get(style.get(f"{_W}val", "")) if style is not None else None
    if own is not None and own.get(f"{_W}val", "9").isdigit() and int(own.get(f"{_W}val")) < 9:
        level = int(own.get(f"{_W}val")) + 1
    if level and text.strip():
        sections.heading(level, " ".join(text.split()))
        sections.line(text, body=False)
        return
    listed = element.find(f"{_W}pPr/{_W}numPr") is not None
    sections.line(f"- {text}" if listed and text.strip() else text)
    if not listed:
        sections.blank()


def _text(element: Any) -> str:
    """What a reader sees of a paragraph, its text boxes included."""
    parts: list[str] = []
    skipped: Any = None
    from lxml import etree

    for event, node in etree.iterwalk(element, events=("start", "end")):
        if skipped is not None:
            if event == "end" and node is skipped:
                skipped = None
        elif event == "end":
            if node.tag == f"{_W}p" and node is not element:
                parts.append("\n")
        elif node.tag in _LEFT_OUT or (node.tag == f"{_W}r" and _hidden(node)):
            skipped = node
        elif node.tag == f"{_W}t":
            parts.append(node.text or "")
        elif node.tag in _WHITE:
            parts.append(_WHITE[node.tag])
    return "".join(parts).strip("\n")


def _hidden(run: Any) -> bool:
    mark = run.find(f"{_W}rPr/{_W}vanish")
    return mark is not None and mark.get(f"{_W}val", "true") not in ("0", "false", "off")


def _rows(table: Any) -> Iterator[list[str]]:
    for row in table.iter(f"{_W}tr"):
        if next(row.iterancestors(f"{_W}tbl")) is table:
            cells = [
                cell for cell in row.iter(f"{_W}tc") if next(cell.iterancestors(f"{_W}tr")) is row
            ]
            yield [
                " ".join(_text(paragraph) for paragraph in cell.iter(f"{_W}p")) for cell in cells
            ]


def _notes(document: Document) -> Iterator[str]:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    for relation in document.part.rels.values():
        kind = relation.reltype.rsplit("/", 1)[-1]
        if kind not in _NOTES or relation.is_external:
            continue
        try:
            root = etree.fromstring(relation.target_part.blob, parser)
        except etree.LxmlError:
            raise Unreadable("is a damaged Word file") from None
        for note in root:
            if note.get(f"{_W}type") is None:
                text = " ".join(filter(None, (_text(each) for each in note.iter(f"{_W}p"))))
                if text.strip():
                    yield text.strip()
