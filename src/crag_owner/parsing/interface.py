"""What a parser is given and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


class Unreadable(Exception):
    """A file that cannot go in; ``reason`` completes "FILE was skipped: it ...".

    The reason never quotes the file.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Section:
    """A run of text under one heading.

    ``heading`` is the path of headings from the top, joined by " > ", empty outside any.
    ``page`` counts from 1 where the format has pages.
    """

    text: str
    heading: str = ""
    page: int | None = None


@dataclass(frozen=True)
class ParsedDocument:
    """A document's sections in reading order.

    ``missing`` says what of it could not be read; it completes "of FILE a part is missing: ..."
    and never quotes the file.
    """

    sections: Sequence[Section]
    metadata: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""


class Parser(Protocol):
    """Turns the bytes of one format into sections."""

    @property
    def name(self) -> str:
        """Short name with a version: a new one makes ingest read unchanged files again."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Endings of file names in lower case, with the dot."""
        ...

    @property
    def modules(self) -> tuple[str, ...]:
        """What :meth:`parse` may import: the sandbox imports it before it closes.

        ``package.*`` means all of a package.
        """
        ...

    def parse(self, data: bytes) -> ParsedDocument:
        """Parse the whole file.

        Raises:
            Unreadable: the bytes are not of the format, or hold no text.
        """
        ...
