"""PDF by pypdf: a section for each page, below the outline's entry that is in force there."""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING, Any

from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable

if TYPE_CHECKING:
    from pypdf import PdfReader

_MAX_PAGES = 100_000
_MAX_DEPTH = 20
_MAX_HEADING = 200
_MAX_NAMED = 8


class PdfParser:
    """``.pdf``, with pages counted from 1 as viewers count them."""

    name = "pdf/1"
    suffixes = (".pdf",)
    modules = ("pypdf.*", "cryptography.hazmat.primitives.ciphers.algorithms")

    def parse(self, data: bytes) -> ParsedDocument:
        """The text of each page that has some.

        Raises:
            Unreadable: protected, damaged, or nothing but pictures.
        """
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError

        logging.getLogger("pypdf").disabled = True
        if b"%PDF-" not in data[:1024]:
            raise Unreadable("is no PDF")
        try:
            reader = PdfReader(io.BytesIO(data), strict=False)
            if reader.is_encrypted and not reader.decrypt(""):
                raise Unreadable("is protected with a password")
            sections, pages = _pages(reader)
        except PyPdfError as error:
            raise Unreadable(f"is a damaged PDF ({type(error).__name__})") from None
        if not sections:
            what = "page" if pages == 1 else f"{pages} pages"
            raise Unreadable(f"holds no text on its {what}: scans need text recognition first")
        title = _title(reader)
        missing = _without_text(sections, pages)
        return ParsedDocument(sections, {"title": title} if title else {}, missing)


def _pages(reader: PdfReader) -> tuple[list[Section], int]:
    pages = len(reader.pages)
    if pages > _MAX_PAGES:
        raise Unreadable(f"has more than {_MAX_PAGES} pages")
    headings = _headings(reader)
    sections = []
    current = ""
    for number, page in enumerate(reader.pages, 1):
        current = headings.get(number, current)
        text = page.extract_text()
        if text.strip():
            sections.append(Section(text, current, number))
    return sections, pages


def _without_text(sections: list[Section], pages: int) -> str:
    """Which pages hold no text, in words; nothing where all do."""
    read = {section.page for section in sections}
    bare = [number for number in range(1, pages + 1) if number not in read]
    if not bare:
        return ""
    named = ", ".join(map(str, bare[:_MAX_NAMED])) + (", ..." if bare[_MAX_NAMED:] else "")
    which = f"page {named} holds" if len(bare) == 1 else f"{len(bare)} pages ({named}) hold"
    return f"{which} no text: if scanned, recognise the text first"


def _headings(reader: PdfReader) -> dict[int, str]:
    """Page number -> path of the last outline entry that begins there.

    An outline is decoration: one that cannot be read is left out.
    """
    found: dict[int, str] = {}
    numbers = {
        page.indirect_reference.idnum: number
        for number, page in enumerate(reader.pages, 1)
        if page.indirect_reference is not None
    }
    try:
        _collect(reader.outline, [], numbers, found)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pypdf raises many kinds on damaged outlines
        found.clear()
    return found


def _collect(entries: Any, path: list[str], numbers: dict[int, int], found: dict[int, str]) -> None:
    last = ""
    for entry in entries:
        if isinstance(entry, list):
            if len(path) < _MAX_DEPTH:
                _collect(entry, [*path, last] if last else path, numbers, found)
            continue
        last = " ".join(str(entry.title or "").split())[:_MAX_HEADING]
        page = getattr(entry.page, "idnum", None)
        if last and page in numbers:
            found[numbers[page]] = " > ".join([*path, last])


def _title(reader: PdfReader) -> str:
    try:
        metadata = reader.metadata
        return str(metadata.title or "").strip() if metadata else ""
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - a title is decoration too
        return ""
