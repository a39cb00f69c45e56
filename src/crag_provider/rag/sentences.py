"""Sentences of passages, and which of them speak of a question."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from crag_provider.rag.words import content

# A full stop ends an English sentence when something like a beginning follows; not after the
# usual abbreviations and initials. A CJK full stop always does.
_ABBREVIATED = re.compile(
    r"\b(?:[A-Z]|[A-Z]\.[A-Z]|No|Nos|St|Co|Gen|Col|Hon|Rev|"
    r"(?i:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|vs|etc|e\.g|i\.e|cf|ca|Inc|Ltd|Corp|Lt|Sgt|Fig|Vol|pp|approx))\.$"
)
_BREAK = re.compile(
    r"[。！？；]+[”’」』）)\"]*\s*|(?<![.!?])[.!?]++[\"'”’)\]]*+\s+(?=[\"'“‘(\[]?[A-Z0-9\u2e80-\u9fff])|"
    r"\s*\n\s*\n\s*|\s*\n\s*(?=#|[-*+•] |\d+[.)、] |\|)|(?<=\|)\s*\n\s*"
)
_HEADING = re.compile(r"#{1,6} [^\n]*(?:\n\s*|$)")
# A line break inside a sentence: nothing between two CJK characters, a blank elsewhere.
_WRAP = re.compile(r"(?<=[\u2e80-\u9fff])\s*\n\s*(?=[\u2e80-\u9fff])")
# Shortened first, so that long runs of them cost no time below.
_BLANKS = re.compile(r"[^\S\n]+")
_BLANK_LINES = re.compile(r"(?: ?\n){3,}")
MAX_CHARACTERS = 600
EXCERPT_CHARACTERS = 220
_NEIGHBOUR = 0.25
_LATER = 0.03


@dataclass(frozen=True)
class Sentence:
    """A piece of passage number ``passage`` (from 0), the ``index``-th there; verbatim but for
    line breaks, which are not the sentence's."""

    passage: int
    index: int
    text: str


def split(text: str, passage: int = 0) -> list[Sentence]:
    """The sentences of ``text``, without headings; overlong ones are cut."""
    found: list[Sentence] = []
    for piece in _pieces(text):
        for part in _parts(piece):
            found.append(Sentence(passage, len(found), part))
    return found


def finished(text: str) -> tuple[list[str], str]:
    """The sentences of a growing ``text`` after which another one has begun, and the rest."""
    *whole, rest = _pieces(text)
    return [part for piece in whole for part in _parts(piece)], rest


def _pieces(text: str) -> list[str]:
    """``text`` cut at the ends of sentences; at least one piece."""
    text = _BLANK_LINES.sub("\n\n", _BLANKS.sub(" ", text))
    pieces: list[str] = []
    begin = 0
    for match in _BREAK.finditer(text):
        ending = text[max(begin, match.end() - 24) : match.end()].rstrip()
        if match[0].strip() and _ABBREVIATED.search(ending):
            continue
        pieces.append(text[begin : match.end()])
        begin = match.end()
    return [*pieces, text[begin:]]


def _parts(piece: str) -> list[str]:
    piece = piece.strip()
    heading = _HEADING.match(piece)
    return _cut(_unwrapped(piece[heading.end() :] if heading else piece))


def _unwrapped(text: str) -> str:
    return " ".join(_WRAP.sub("", text).split())


def _cut(text: str) -> list[str]:
    parts = []
    while len(text) > MAX_CHARACTERS:
        at = max(text.rfind(mark, 0, MAX_CHARACTERS) for mark in (" ", "，", "、", ","))
        at = at + 1 if at > MAX_CHARACTERS // 2 else MAX_CHARACTERS
        parts.append(text[:at].strip())
        text = text[at:].strip()
    return [*parts, text] if text else parts


def rank(
    question: str,
    passages: Sequence[str],
    similarity: Callable[[Sequence[str]], Sequence[float]] | None = None,
) -> list[Sentence]:
    """The sentences of ``passages`` (best passage first), those nearest to the question first.

    A sentence counts by the question's words in it, rare ones more, and a little by those of its
    neighbours; an earlier passage wins a near tie. Where hardly any word is shared, as between
    languages, ``similarity`` decides.

    Args:
        similarity: for texts, how near each is to the question (higher is nearer); slow.
    """
    sentences = [one for at, text in enumerate(passages) for one in split(text, at)]
    words = [content(one.text) for one in sentences]
    asked = content(question)
    weight = {
        word: math.log(1 + (len(words) + 0.5) / (0.5 + sum(word in bag for bag in words)))
        for word in sorted(asked)
    }
    whole = sum(weight.values()) or 1.0
    shared = [sum(weight[word] for word in asked & bag) / whole for bag in words]
    if similarity is not None and max(shared, default=0.0) < 0.2 and sentences:
        near = similarity([one.text for one in sentences])
        order = sorted(range(len(sentences)), key=lambda at: (-near[at], at))
    else:
        score = [
            value + _NEIGHBOUR * _beside(at, shared, sentences) - _LATER * one.passage
            for at, (value, one) in enumerate(zip(shared, sentences, strict=True))
        ]
        order = sorted(range(len(sentences)), key=lambda at: (-score[at], at))
    return [sentences[at] for at in order]


def _beside(at: int, shared: Sequence[float], sentences: Sequence[Sentence]) -> float:
    """The larger share of the sentences before and after number ``at`` in its passage."""
    return max(
        (
            shared[near]
            for near in (at - 1, at + 1)
            if 0 <= near < len(sentences) and sentences[near].passage == sentences[at].passage
        ),
        default=0.0,
    )


def excerpt(ranked: Sequence[Sentence]) -> list[Sentence]:
    """The best sentence with those that follow it in its passage, as far as they fit.

    What follows is what the sentence announces: "There are five challenges." alone is no answer.
    A sentence that ends its passage is joined by the second best.
    """
    if not ranked:
        return []
    by_place = {(one.passage, one.index): one for one in ranked}
    chosen = [ranked[0]]
    room = EXCERPT_CHARACTERS - len(ranked[0].text)
    while (after := by_place.get((chosen[-1].passage, chosen[-1].index + 1))) is not None:
        room -= len(after.text)
        if room < 0:
            break
        chosen.append(after)
    if len(chosen) == 1:
        chosen += ranked[1:2]
    return in_order(chosen)


def in_order(chosen: Sequence[Sentence]) -> list[Sentence]:
    """``chosen`` as they stand in the passages."""
    return sorted(chosen, key=lambda one: (one.passage, one.index))
