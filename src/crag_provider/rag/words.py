"""What a text says, as a set of comparable words: for English, Chinese and what is like them.

Latin words are folded and lightly stemmed, numbers keep their value, and scripts without spaces
(Chinese, Japanese, Thai) count as overlapping pairs of characters between their particles.
"""

from __future__ import annotations

import re
import unicodedata

_UNSPACED = "\u2e80-\u2fdf\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
_PIECE = re.compile(rf"[{_UNSPACED}]+|\d+(?:[.,]\d+)*|[^\W\d_{_UNSPACED}]+")
_NUMBER = re.compile(r"(?<![A-Za-z])\d+(?:[.,]\d+)*")  # the 2 of km2 is none
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
# Chinese characters that bind words and rarely belong to one.
_PARTICLES = re.compile("[的了在是和与及由于也都就而被把将并或吗呢吧]+")
_SUFFIXES = ("ingly", "edly", "ings", "ing", "ies", "ied", "ed", "es", "ly", "s", "e")

_ENGLISH = """
a about after again all also am an and any are as at be because been before being between both but
by can could did do does during each either for from had has have he her here hers him his how i if
in into is it its just may me might more most must my no nor not of off on once only or other our
out over own same shall she should so some such than that the their them then there these they this
those through to too under until up us very was we were what when where which while who whom whose
why will with would you your
answer according context following given mention mentioned mentions passage question says states
stated text told yes
"""
_CHINESE = """
什么 么是 是什 哪些 哪个 哪里 多少 怎么 如何 为何 为什 因为 所以 以及 一个 这个 那个 这些 那些 它们
他们 我们 你们 可以 没有 就是 还是 但是 或者 是否 请问 有哪 些是 的是 是指 有什 有多 根据 提到
文中 问题
"""


def _stem(word: str) -> str:
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            return word[: -len(suffix)]
    return word


# Words that say nothing by themselves; stemmed as the texts are.
_EMPTY = frozenset(map(_stem, _ENGLISH.split())) | frozenset(_CHINESE.split())


def numbers(text: str) -> frozenset[str]:
    """The numbers in ``text``, thousands separators removed: ``{"19018", "1564"}``."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return frozenset(_number(number) for number in found)


def _number(text: str) -> str:
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def content(text: str) -> frozenset[str]:
    """The words of ``text`` that carry meaning, in comparable form."""
    found: set[str] = set()
    for piece in _PIECE.findall(unicodedata.normalize("NFKC", text).casefold()):
        if piece[0].isdigit():
            found.add(_number(piece))
        elif is_pair(piece):
            for run in filter(None, _PARTICLES.split(piece)):
                found.update(pair for pair in _pairs(run) if pair not in _EMPTY)
        elif len(piece) > 1 or piece.isupper():
            stem = _stem(piece)
            if stem not in _EMPTY:
                found.add(stem)
    return frozenset(found)


def is_pair(word: str) -> bool:
    """Whether a word of :func:`content` is of a script without spaces."""
    return "\u0e00" <= word[0] <= "\u0e7f" or word[0] >= "\u2e80"


def _pairs(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[at : at + 2] for at in range(len(run) - 1)]
