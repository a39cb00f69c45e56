"""Sections to chunks: as many whole sentences as fit the embedder, in any script.

Lengths are counted in the embedder's own tokens. Text is cut at the widest boundary that serves:
blank line, line, end of a sentence (Latin or CJK), clause, white space, character.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langchain_text_splitters import RecursiveCharacterTextSplitter

from crag_core.errors import BadInput
from crag_owner.parsing.interface import Section

# Closing quotes and brackets stay with the sentence they close.
_CLOSERS = "[”’」』）》】)\"'\\]]*"
SEPARATORS = [
    r"\n[ \t]*\n\s*",
    r"\n",
    rf"(?:[。！？!?；…]+{_CLOSERS}|\.{_CLOSERS}(?=\s))",
    r"[，、：,;:]",
    r"\s+",
    "",
]


@dataclass(frozen=True)
class ChunkingPolicy:
    """Target length and overlap of chunks, in tokens; kept in the collection's sealed profile."""

    tokens: int = 220
    overlap: int = 30

    def __post_init__(self) -> None:
        if not 20 <= self.tokens <= 2000 or not 0 <= self.overlap <= self.tokens // 2:
            raise BadInput(
                f"Chunks of {self.tokens} tokens with {self.overlap} overlapping cannot be made.",
                hint="Use 20 to 2000 tokens and an overlap of at most half of them.",
            )

    def as_json(self) -> dict[str, int]:
        """For the profile: ``{"tokens", "overlap"}``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> ChunkingPolicy:
        """From the profile; what is missing has its default."""
        known = data if isinstance(data, dict) else {}
        return cls(**{key: int(known[key]) for key in ("tokens", "overlap") if key in known})

    @property
    def identity(self) -> str:
        """Changes whenever the same text would be cut otherwise."""
        return f"recursive-cjk/1:{self.tokens}:{self.overlap}"


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: what is shown, and what is embedded (with its headings before it)."""

    text: str
    embedded: str
    heading: str = ""
    page: int | None = None


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def split(
    sections: Sequence[Section],
    policy: ChunkingPolicy,
    count_tokens: Callable[[str], int],
) -> Iterator[Chunk]:
    """Cut sections into chunks of at most ``policy.tokens`` tokens each.

    A section that fits is one chunk. Pieces without a letter or digit (rules, dots) are dropped.
    """
    splitter = RecursiveCharacterTextSplitter(
        separators=SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",
        chunk_size=policy.tokens,
        chunk_overlap=policy.overlap,
        length_function=count_tokens,
    )
    for section in sections:
        for piece in splitter.split_text(section.text):
            text = piece.strip()
            if _says_something(text):
                yield Chunk(text, _with_heading(section, text), section.heading, section.page)


def _with_heading(section: Section, text: str) -> str:
    """The text below its headings, unless it begins with the last of them itself."""
    if not section.heading:
        return text
    last = section.heading.rsplit(" > ", 1)[-1]
    return text if last in text.split("\n", 1)[0] else f"{section.heading}\n{text}"
