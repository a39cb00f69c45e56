"""Which parser reads which file."""

from __future__ import annotations

from pathlib import PurePath

from crag_owner.parsing.interface import Parser
from crag_owner.parsing.markdown import MarkdownParser
from crag_owner.parsing.text import TextParser

_PARSERS: tuple[Parser, ...] = (TextParser(), MarkdownParser())
_BY_SUFFIX: dict[str, Parser] = {
    suffix: parser for parser in _PARSERS for suffix in parser.suffixes
}
SUFFIXES = tuple(sorted(_BY_SUFFIX))


def parser_for(path: PurePath) -> Parser | None:
    """The parser of a file by the ending of its name, or None."""
    return _BY_SUFFIX.get(path.suffix.lower())
