"""PowerPoint by python-pptx: a section for each slide, with its title, tables and notes."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

from crag_owner.parsing.archive import open_archive, refuse_document_types
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.tables import row_lines

_MAX_DEPTH = 50


class SlidesParser:
    """``.pptx``: ``page`` is the slide's number, ``heading`` its title."""

    name = "pptx/1"
    suffixes = (".pptx",)
    modules = ("pptx.*", "lxml.etree")

    def parse(self, data: bytes) -> ParsedDocument:
        """The text of each slide that has some; hidden slides are left out.

        Raises:
            Unreadable: no PowerPoint file, protected, damaged, a bomb, or empty.
        """
        import pptx
        from lxml.etree import LxmlError
        from pptx.exc import PythonPptxError

        with open_archive(data, "PowerPoint") as archive:
            refuse_document_types(archive)
        try:
            presentation = pptx.Presentation(io.BytesIO(data))
            sections = [
                _section(slide, number)
                for number, slide in enumerate(presentation.slides, 1)
                if slide.element.get("show") not in ("0", "false")
            ]
            title = str(presentation.core_properties.title or "").strip()
        except (PythonPptxError, LxmlError, KeyError, ValueError, AttributeError):
            raise Unreadable("is a damaged PowerPoint file") from None
        return ParsedDocument(sections, {"title": title} if title else {})


def _section(slide: Any, number: int) -> Section:
    title = slide.shapes.title
    heading = " ".join(title.text_frame.text.split()) if title is not None else ""
    lines = list(_lines(slide.shapes, 0))
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        lines += ["", notes] if notes else []
    return Section("\n".join(lines).replace("\v", "\n"), heading, number)


def _lines(shapes: Iterable[Any], depth: int) -> Iterator[str]:
    """Text of shapes in their order, groups opened."""
    for shape in shapes:
        if hasattr(shape, "shapes"):
            if depth >= _MAX_DEPTH:
                raise Unreadable("is nested too deeply")
            yield from _lines(shape.shapes, depth + 1)
        elif getattr(shape, "has_table", False):
            rows = ([cell.text_frame.text for cell in row.cells] for row in shape.table.rows)
            yield from row_lines(rows)
        elif shape.has_text_frame and shape.text_frame.text.strip():
            yield shape.text_frame.text
            yield ""
