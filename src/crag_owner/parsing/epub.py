"""EPUB 2 and 3: the chapters in reading order, by the package document's spine.

Read with ``zipfile`` and lxml (EPUB 3.3, sections 4.2.6.3.1 and 5): the container has nothing that
would need a library of its own, and ebooklib reads all parts into memory before any can be checked.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import unquote

from crag_owner.parsing.archive import declares_entities, open_archive, read_part
from crag_owner.parsing.html import split_html, to_text
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable

if TYPE_CHECKING:
    from lxml.etree import _Element

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_MAX_CHAPTERS = 5000
_PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


class EpubParser:
    """``.epub``: headings are the book's title and the chapter's own."""

    name = "epub/2"
    suffixes = (".epub",)
    modules = ("lxml.etree",)

    def parse(self, data: bytes) -> ParsedDocument:
        """Chapters in the order of the spine.

        Raises:
            Unreadable: no EPUB, protected, damaged, a bomb, or empty.
        """
        with open_archive(data, "EPUB") as book:
            place = _package_path(book)
            package = _xml(read_part(book, place))
            title = _title(package)
            encrypted = _encrypted(book)
            sections: list[Section] = []
            for chapter in _spine(package, place):
                if chapter in encrypted:
                    raise Unreadable("is protected by rights management")
                page = to_text(read_part(book, chapter))
                if page.strip():
                    sections += split_html(page, title)
        return ParsedDocument(sections, {"title": title} if title else {})


def _xml(data: bytes) -> _Element:
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except etree.LxmlError:
        if declares_entities(data):
            raise Unreadable("declares XML entities, as an XML bomb does") from None
        raise Unreadable("is no EPUB file: its package document is damaged") from None
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise Unreadable("declares XML entities, as an XML bomb does")
    return root


def _named(element: _Element, name: str) -> Iterator[_Element]:
    """Descendants with this local name, whatever the version's namespace is."""
    yield from element.iter(f"{{*}}{name}")


def _package_path(book: zipfile.ZipFile) -> str:
    for root in _named(_xml(read_part(book, _CONTAINER)), "rootfile"):
        path = root.get("full-path")
        if path:
            return str(path)
    raise Unreadable("is no EPUB file: it names no package document")


def _title(package: _Element) -> str:
    for element in _named(package, "title"):
        return " ".join((element.text or "").split())
    return ""


def _spine(package: _Element, place: str) -> Iterator[str]:
    """Paths of the chapters inside the archive, each once."""
    folder = posixpath.dirname(place)
    items = {
        item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        for item in _named(package, "item")
        if item.get("media-type", _PAGES[0]) in _PAGES
    }
    seen: set[str] = set()
    for reference in _named(package, "itemref"):
        path = items.get(reference.get("idref"))
        if path is not None and path not in seen:
            seen.add(path)
            if len(seen) > _MAX_CHAPTERS:
                raise Unreadable(f"has more than {_MAX_CHAPTERS} chapters")
            yield path


def _encrypted(book: zipfile.ZipFile) -> frozenset[str]:
    """Parts that the container says are encrypted; fonts often are, chapters only under DRM."""
    if _ENCRYPTION not in book.namelist():
        return frozenset()
    found = _named(_xml(read_part(book, _ENCRYPTION)), "CipherReference")
    return frozenset(unquote(reference.get("URI", "")) for reference in found)
