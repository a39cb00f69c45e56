"""HTML, as a reader sees it: no scripts, no styles, nothing that the page hides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from crag_owner.parsing.encoding import decode, decode_as
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.sections import SectionBuilder

if TYPE_CHECKING:
    from lxml.etree import _Element

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?([\w:.-]{2,40})""", re.I
)
_HEAD = 4096
_LEFT_OUT = frozenset(
    ("script", "style", "template", "noscript", "head", "iframe", "object", "embed", "svg", "math",
     "select", "input", "button", "textarea", "canvas", "audio", "video")
)  # fmt: skip
_BLOCKS = frozenset(
    ("p", "div", "section", "article", "aside", "header", "footer", "main", "nav", "address", "ul",
     "ol", "li", "dl", "dt", "dd", "blockquote", "figure", "figcaption", "form", "fieldset",
     "details", "summary", "hr", "body", "html", "table", "tr", "caption", "pre")
)  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_PARAGRAPHS = frozenset(("p", "blockquote", "pre", "table", "ul", "ol", "dl", "figure"))


def to_text(data: bytes) -> str:
    """A page's text in the encoding of its mark, its declaration, or its bytes."""
    declared = _DECLARED.search(data[:_HEAD])
    if declared and not data.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")):
        return decode_as(data, declared[1].decode("ascii"))
    return decode(data)


def split_html(page: str, title: str = "") -> list[Section]:
    """The sections of a page, below ``title`` and the path of h1 to h6.

    Raises:
        Unreadable: as :func:`parse_page`.
    """
    root = parse_page(page)
    sections = SectionBuilder(title)
    _Reader(sections).read(root)
    return sections.done


def parse_page(page: str) -> _Element:
    """The tree of a page; entities are HTML's own, nothing is fetched.

    Raises:
        Unreadable: no element in it, or elements nested deeper than libxml2 goes (2048).
    """
    from lxml import etree

    # Otherwise a picture of 10 MB within the page would end it; the sandbox sets the limits.
    parser = etree.HTMLParser(
        encoding="utf-8", no_network=True, huge_tree=True, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(page.encode("utf-8", "replace"), parser)
    except etree.LxmlError:
        raise Unreadable("is no HTML") from None
    # It stops there, and gives what came before without a word.
    if fatal := parser.error_log.filter_from_fatals():
        deep = "depth" in fatal[0].message
        raise Unreadable(
            "is nested too deeply" if deep else "is HTML that cannot be read to its end"
        )
    if root is None:
        raise Unreadable("is empty")
    return root


def page_title(root: _Element) -> str:
    """The text of ``<title>``, or an empty string."""
    found = root.find(".//title")
    return " ".join((found.text or "").split()) if found is not None else ""


class _Reader:
    """Walks a tree in reading order without recursion: pages may nest as deep as they like."""

    def __init__(self, sections: SectionBuilder) -> None:
        self._sections = sections
        self._inline: list[str] = []
        self._prefix = ""
        self._heading = 0
        self._pre = 0

    def read(self, root: _Element) -> None:
        """Read the whole tree."""
        skipped = 0
        for opening, element in _walk(root):
            tag = element.tag if isinstance(element.tag, str) else ""
            if skipped or tag in _LEFT_OUT or not tag or _is_hidden(element):
                skipped += 1 if opening else -1
            elif opening:
                self._open(tag, element)
                self._text(element.text)
            else:
                self._close(tag)
            if not opening and not skipped and element is not root:
                self._text(element.tail)
        self._break()
        self._sections.flush()

    def _open(self, tag: str, element: _Element) -> None:
        if tag in _HEADINGS or tag in _BLOCKS:
            self._break(paragraph=tag in _PARAGRAPHS or tag in _HEADINGS)
        if tag in _HEADINGS:
            self._heading = _HEADINGS[tag]
        elif tag == "li":
            self._prefix = "- "
        elif tag == "br":
            self._inline.append("\n")
        elif tag == "img" and element.get("alt"):
            self._text(f" {element.get('alt')} ")
        elif tag == "pre":
            self._pre += 1

    def _close(self, tag: str) -> None:
        if tag in _HEADINGS and self._heading:
            title = " ".join("".join(self._inline).split())
            self._inline, level, self._heading = [], self._heading, 0
            self._sections.heading(level, title)
            self._sections.line(title, body=False)
        elif tag in ("td", "th"):
            self._inline.append(" | ")
        elif tag in _BLOCKS:
            self._break(paragraph=tag in _PARAGRAPHS)
            if tag == "pre":
                self._pre -= 1

    def _text(self, text: str | None) -> None:
        if text:
            self._inline.append(text if self._pre else re.sub(r"\s+", " ", text))

    def _break(self, *, paragraph: bool = False) -> None:
        text = "".join(self._inline)
        self._inline = []
        prefix, self._prefix = self._prefix, ""
        if self._pre and text.strip():
            for line in text.strip("\n").split("\n"):
                self._sections.line(line.rstrip())
        else:
            lines = [" ".join(line.split()).removesuffix(" |") for line in text.split("\n")]
            for line in filter(None, lines):
                self._sections.line(prefix + line)
                prefix = "  " if prefix else ""
            if not any(lines):
                self._prefix = prefix
        if paragraph:
            self._sections.blank()


def _walk(root: _Element) -> Iterator[tuple[bool, _Element]]:
    from lxml import etree

    for event, element in etree.iterwalk(root, events=("start", "end")):
        yield event == "start", element


def _is_hidden(element: Any) -> bool:
    return (
        element.get("hidden") is not None
        or element.get("aria-hidden") == "true"
        or _HIDDEN.search(element.get("style") or "") is not None
    )


class HtmlParser:
    """``.html``: one section for each heading that has text below it."""

    name = "html/2"
    suffixes = (".html", ".htm", ".xhtml")
    modules = ("lxml.etree",)

    def parse(self, data: bytes) -> ParsedDocument:
        """Read the page; its title goes into the metadata."""
        page = to_text(data)
        if not page.strip():
            raise Unreadable("is empty")
        root = parse_page(page)
        sections = SectionBuilder()
        _Reader(sections).read(root)
        title = page_title(root)
        return ParsedDocument(sections.done, {"title": title} if title else {})
