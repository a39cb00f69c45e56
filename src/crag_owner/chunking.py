"""Sections to chunks: as much text as fits the embedder, in any script.

Lengths are counted in the embedder's own tokens. Three strategies:

recursive   cuts at the widest boundary that serves: blank line, line, end of a sentence (Latin or
            CJK), clause, white space, character
sentence    packs whole sentences, and overlaps by whole sentences
fixed       windows of equal length wherever they end, for comparison

None crosses a section: a heading, a page, a slide, a sheet.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from langchain_text_splitters import RecursiveCharacterTextSplitter

from crag_core.errors import BadInput
from crag_owner.parsing.interface import Section

Counter = Callable[[str], int]

# Closing quotes and brackets stay with the sentence they close.
_CLOSERS = "[”’」』〕）》】)\"'\\]]*"
_SENTENCE_END = rf"(?:[。！？!?；…．｡]+{_CLOSERS}|\.{_CLOSERS}(?=\s))"
SEPARATORS = [
    r"\n[ \t]*\n\s*",
    r"\n",
    _SENTENCE_END,
    r"[，、：,;:]",
    r"\s+",
    "",
]
STRATEGIES = ("recursive", "sentence", "fixed")
# A change to how a strategy cuts must change its version: documents are then read again.
_VERSIONS = {"recursive": "recursive-cjk/2", "sentence": "sentence/1", "fixed": "fixed/1"}

_SENTENCE = re.compile(rf"(?s:.)*?(?:{_SENTENCE_END}\s*|\n[ \t]*\n\s*|\Z)")


@dataclass(frozen=True)
class ChunkingPolicy:
    """How a collection is cut; kept in its sealed profile.

    ``tokens`` and ``overlap`` are target length and overlap in tokens of the embedder.

    Raises:
        BadInput: lengths that cannot be met, or no such strategy.
    """

    tokens: int = 220
    overlap: int = 30
    strategy: str = "recursive"

    def __post_init__(self) -> None:
        if not 20 <= self.tokens <= 2000 or not 0 <= self.overlap <= self.tokens // 2:
            raise BadInput(
                f"Chunks of {self.tokens} tokens with {self.overlap} overlapping cannot be made.",
                hint="Use 20 to 2000 tokens and an overlap of at most half of them.",
            )
        if self.strategy not in STRATEGIES:
            raise BadInput(
                f"The chunking strategy {self.strategy!r} is not known.",
                hint=f"Use one of {', '.join(STRATEGIES)}.",
            )

    @classmethod
    def asked(cls, tokens: int | None, overlap: int | None, strategy: str | None) -> ChunkingPolicy:
        """The policy of a new collection; None leaves the default, which never exceeds a half."""
        size = cls.tokens if tokens is None else tokens
        if overlap is None:
            overlap = min(cls.overlap, size // 2)
        return cls(size, overlap, strategy or cls.strategy)

    def as_json(self) -> dict[str, Any]:
        """For the profile: ``{"tokens", "overlap", "strategy"}``."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> ChunkingPolicy:
        """From the profile; what is missing has its default."""
        known = data if isinstance(data, dict) else {}
        numbers = {key: int(known[key]) for key in ("tokens", "overlap") if key in known}
        return cls(**numbers, strategy=str(known.get("strategy", cls.strategy)))

    @property
    def identity(self) -> str:
        """Changes whenever the same text would be cut otherwise."""
        return f"{_VERSIONS[self.strategy]}:{self.tokens}:{self.overlap}"


@dataclass(frozen=True)
class Chunk:
    """A piece of a document: what is shown, and what is embedded (with its headings before it)."""

    text: str
    embedded: str
    heading: str = ""
    page: int | None = None


def split(
    sections: Sequence[Section], policy: ChunkingPolicy, count_tokens: Counter
) -> Iterator[Chunk]:
    """Cut sections into chunks of at most ``policy.tokens`` tokens each.

    A section that fits is one chunk. Pieces without a letter or digit (rules, dots) are dropped.
    """
    cut = _CUTTERS[policy.strategy](policy, count_tokens)
    for section in sections:
        for piece in cut(section.text):
            text = piece.strip()
            if _says_something(text):
                yield Chunk(text, _with_heading(section, text), section.heading, section.page)


def _says_something(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _with_heading(section: Section, text: str) -> str:
    """The text below its headings, unless it begins with the last of them itself."""
    if not section.heading:
        return text
    last = section.heading.rsplit(" > ", 1)[-1]
    return text if last in text.split("\n", 1)[0] else f"{section.heading}\n{text}"


def _recursive(policy: ChunkingPolicy, count: Counter) -> Callable[[str], list[str]]:
    return RecursiveCharacterTextSplitter(
        separators=SEPARATORS,
        is_separator_regex=True,
        keep_separator="end",
        chunk_size=policy.tokens,
        chunk_overlap=policy.overlap,
        length_function=count,
    ).split_text


def sentences(text: str) -> list[str]:
    """``text`` cut behind each sentence and blank line; joined again it is ``text``."""
    return [found[0] for found in _SENTENCE.finditer(text) if found[0]]


def _by_sentence(policy: ChunkingPolicy, count: Counter) -> Callable[[str], Iterator[str]]:
    whole = _recursive(ChunkingPolicy(policy.tokens, 0), count)

    def cut(text: str) -> Iterator[str]:
        units: list[tuple[str, int]] = []
        for sentence in sentences(text):
            length = count(sentence)
            if length <= policy.tokens:
                units.append((sentence, length))
            else:
                units += [(piece, count(piece)) for piece in whole(sentence)]
        yield from _pack(units, policy)

    return cut


def _pack(units: Sequence[tuple[str, int]], policy: ChunkingPolicy) -> Iterator[str]:
    """Runs of units within the size; each run begins with the last units of the one before."""
    held: list[tuple[str, int]] = []
    size = 0
    for unit in units:
        if held and size + unit[1] > policy.tokens:
            yield "".join(text for text, _ in held)
            while held and (size > policy.overlap or size + unit[1] > policy.tokens):
                size -= held.pop(0)[1]
        held.append(unit)
        size += unit[1]
    if held:
        yield "".join(text for text, _ in held)


def _fixed(policy: ChunkingPolicy, count: Counter) -> Callable[[str], Iterator[str]]:
    def cut(text: str) -> Iterator[str]:
        start = 0
        while start < len(text):
            end = _reach(text, start, policy.tokens, count)
            yield text[start:end]
            if end == len(text):
                return
            back = _reach_back(text, start, end, policy.overlap, count)
            start = max(back, start + 1)

    return cut


def _reach(text: str, start: int, tokens: int, count: Counter) -> int:
    """The furthest end with at most ``tokens`` tokens from ``start``, one character at least."""
    low, high = start + 1, min(len(text), start + tokens)
    while high < len(text) and count(text[start:high]) <= tokens:
        low, high = high, min(len(text), start + 2 * (high - start))
    while low < high:
        middle = (low + high + 1) // 2
        if count(text[start:middle]) <= tokens:
            low = middle
        else:
            high = middle - 1
    return low


def _reach_back(text: str, start: int, end: int, tokens: int, count: Counter) -> int:
    """Where the next window begins: at most ``tokens`` tokens before ``end``."""
    low, high = start + 1, end
    while low < high:
        middle = (low + high) // 2
        if count(text[middle:end]) <= tokens:
            high = middle
        else:
            low = middle + 1
    return low


_CUTTERS: dict[
    str, Callable[[ChunkingPolicy, Counter], Callable[[str], list[str] | Iterator[str]]]
] = {"recursive": _recursive, "sentence": _by_sentence, "fixed": _fixed}
