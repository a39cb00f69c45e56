"""Which parser reads which file."""

from __future__ import annotations

from pathlib import PurePath

from crag_owner.parsing import longtail
from crag_owner.parsing.delimited import DelimitedParser
from crag_owner.parsing.epub import EpubParser
from crag_owner.parsing.html import HtmlParser
from crag_owner.parsing.interface import Parser
from crag_owner.parsing.json_text import JsonLinesParser, JsonParser
from crag_owner.parsing.mail import MailParser
from crag_owner.parsing.markdown import MarkdownParser
from crag_owner.parsing.pdf import PdfParser
from crag_owner.parsing.rst import RstParser
from crag_owner.parsing.sheets import SheetsParser
from crag_owner.parsing.slides import SlidesParser
from crag_owner.parsing.source import SourceParser
from crag_owner.parsing.text import TextParser
from crag_owner.parsing.word import WordParser

PARSERS: tuple[Parser, ...] = (
    TextParser(),
    MarkdownParser(),
    RstParser(),
    HtmlParser(),
    PdfParser(),
    WordParser(),
    SlidesParser(),
    SheetsParser(),
    DelimitedParser(),
    JsonParser(),
    JsonLinesParser(),
    MailParser(),
    EpubParser(),
    SourceParser(),
    *longtail.PARSERS,
)
_BY_SUFFIX: dict[str, Parser] = {suffix: parser for parser in PARSERS for suffix in parser.suffixes}
SUFFIXES = tuple(sorted(_BY_SUFFIX))


def parser_for(path: PurePath) -> Parser | None:
    """The parser of a file by the ending of its name, or None."""
    return _BY_SUFFIX.get(path.suffix.lower())
