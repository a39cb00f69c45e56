"""Whether the passages say what a model's sentence says.

A guard against invention, made of words and not of understanding: it can refuse a true sentence
that is put in other words, and accept a false one made of the passage's own words. What it refuses
is replaced by quotes, which are true to the passage by construction.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from crag_provider.rag.sentences import split
from crag_provider.rag.words import content, is_pair, numbers

# A name in the middle of a sentence, or an abbreviation.
_NAME = re.compile(r"(?<=[^.!?\s]\s)[A-Z][\w'’-]+|\b[A-Z]{2,}\b")
# What repeats nothing of the question must stand in one sentence with this share of its words.
_NEAR = 0.75
# Pairs of characters also form where words meet, so that fewer of them can be asked for.
_PAIRS = 0.7


class Checker:
    """Checks sentences of an answer to one question against the passages it may rest on.

    Args:
        needed: share (0 to 1) of a sentence's own words that the passage must have. 1.0 for weak
            models, which invent; less for strong ones, which put things in other words.
    """

    def __init__(self, question: str, passages: Sequence[str], needed: float) -> None:
        self._needed = needed
        self._asked = content(question)
        self._asked_numbers = numbers(question)
        self._windows = [
            (number, single, content(window), numbers(window))
            for number, passage in enumerate(passages)
            for single, window in _windows(passage)
        ]

    def check(self, sentence: str) -> int | None:
        """The number (from 0) of the passage that supports ``sentence``, or None.

        It must say something that the question doesn't; its numbers and names must stand in one
        or two neighbouring sentences of the passage (or in the question), and of its other words
        at least the needed share.
        """
        said = content(sentence)
        new = said - self._asked
        if not new or _stutters(sentence):
            return None
        counted = numbers(sentence) - self._asked_numbers
        named = content(" ".join(_NAME.findall(sentence))) - self._asked
        terse = not said & self._asked
        best: tuple[float, int] | None = None
        for passage, single, words, figures in self._windows:
            if terse and not (single and len(self._asked & words) >= _NEAR * len(self._asked)):
                continue
            if counted <= figures and named <= words:
                share = _share(new, words)
                if share >= self._needed and (best is None or share > best[0]):
                    best = (share, passage)
        return best[1] if best else None


def _share(new: frozenset[str], words: frozenset[str]) -> float:
    """Share of ``new`` that is among ``words``: of spaced words or of pairs, whichever is less."""
    pairs = {word for word in new if is_pair(word)}
    spaced = new - pairs
    of_pairs = len(pairs & words) / len(pairs) / _PAIRS if pairs else 1.0
    of_spaced = len(spaced & words) / len(spaced) if spaced else 1.0
    return min(of_pairs, of_spaced, 1.0)


def _stutters(sentence: str) -> bool:
    """Whether three words come three times, as when a weak model runs in circles."""
    words = sentence.casefold().split()
    runs = [tuple(words[at : at + 3]) for at in range(len(words) - 2)]
    return any(runs.count(run) > 2 for run in set(runs))


def _windows(passage: str) -> list[tuple[bool, str]]:
    """Each sentence (true) and each two neighbouring ones (false)."""
    texts = [one.text for one in split(passage)]
    pairs = [(False, f"{a} {b}") for a, b in itertools.pairwise(texts)]
    return [*((True, text) for text in texts), *pairs]
