"""Bytes to text: Unicode, GB18030 or Big5, decoded strictly or not at all.

Order: a byte order mark; UTF-8, which other encodings hit by accident only in ASCII; then UTF-16
without a mark (the only one whose bytes may hold a NUL), GB18030 and Big5. Those accept almost any
bytes, so each is also judged by what it yields: a candidate is taken if its characters are the ones
that Chinese is written with and no other candidate comes near. Everything else (Latin-1, Shift JIS,
a few rare characters) is refused, because a document that was decoded wrongly would be encrypted
and never be found again.
"""

from __future__ import annotations

import codecs
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from crag_owner.parsing.frequency import COMMON_SIMPLIFIED, COMMON_TRADITIONAL
from crag_owner.parsing.interface import Unreadable

_MARKS: tuple[tuple[bytes, str], ...] = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# A candidate must reach the first and lead the next by the second; measured, see the tests.
_ENOUGH = 0.62
_LEAD = 0.15
# Short texts say less: this, over the root of their length, is taken off.
_DOUBT = 0.15
_COMMON = COMMON_SIMPLIFIED | COMMON_TRADITIONAL
_SAMPLE = 256 * 1024
_CONTROLS = frozenset(range(32)) - {9, 10, 12, 13} | {127}


def decode(data: bytes) -> str:
    """``data`` as text with ``\\n`` line ends and without a byte order mark.

    Raises:
        Unreadable: no encoding fits, more than one does, or it is a binary file.
    """
    return detect(data)[1].replace("\r\n", "\n").replace("\r", "\n")


def detect(data: bytes) -> tuple[str, str]:
    """The name of the encoding of ``data`` and its text without a byte order mark.

    Raises:
        Unreadable: as :func:`decode`.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name, _text(_strict(data[len(mark) :], name))
    if b"\x00" not in data:
        try:
            return "utf-8", data.decode("utf-8")
        except UnicodeDecodeError as error:
            offset = error.start
    else:
        offset = -1
    fitting = _candidates(data)
    if fitting and fitting[0].score >= _ENOUGH:
        best = fitting[0]
        if len(fitting) == 1 or best.score - fitting[1].score >= _LEAD:
            return best.name, best.text
    raise Unreadable(_why(data, offset, fitting))


def decode_as(data: bytes, name: str) -> str:
    """``data`` in the encoding that a document declares for itself, as :func:`decode` gives it.

    Names are Python's and the WHATWG's; what is declared as GB2312 or GBK is read as GB18030, and
    ISO 8859-1 as Windows-1252, as browsers do. An encoding that is unknown or does not
    fit is ignored in favour of :func:`detect`.
    """
    name = _ALIASES.get(name.strip().lower(), name.strip().lower())
    try:
        known = codecs.lookup(name)
        if known.name.replace("_", "-") not in _NOT_CHARSETS:
            text = data.decode(known.name).removeprefix("\ufeff")
            return text.replace("\r\n", "\n").replace("\r", "\n")
    except (LookupError, ValueError):  # also for a codec that is no charset (hex, zlib)
        pass
    return decode(data)


_ALIASES = {
    "gb2312": "gb18030", "gb_2312-80": "gb18030", "gbk": "gb18030", "x-gbk": "gb18030",
    "cp936": "gb18030", "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252",
    "x-sjis": "cp932", "shift_jis": "cp932",
    "ks_c_5601-1987": "cp949", "euc-kr": "cp949", "big5": "cp950", "big5-hkscs": "big5hkscs",
    "unicode-1-1-utf-8": "utf-8", "utf8": "utf-8",
}  # fmt: skip
_NOT_CHARSETS = frozenset({"idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined"})


@dataclass(frozen=True)
class _Candidate:
    """``score``: how far the text looks like Chinese (or, in UTF-16, like any) writing, 0 to 1."""

    name: str
    text: str
    score: float


def _candidates(data: bytes) -> list[_Candidate]:
    """What ``data`` decodes as without an error, most likely first."""
    wide = b"\x00" in data
    trials: list[tuple[str, tuple[str, ...], Callable[[str, str], float]]] = []
    if not wide:
        trials += [
            ("gb18030", ("gb18030",), _simplified),
            ("big5", ("cp950", "big5hkscs"), _traditional),
        ]
    if len(data) % 2 == 0:
        by_sight = _unicode if wide else _chinese
        trials += [(name, (name,), by_sight) for name in ("utf-16-le", "utf-16-be")]
    found = []
    for name, codecs_, judge in trials:
        for codec in codecs_:
            with contextlib.suppress(UnicodeDecodeError):
                text = data.decode(codec)
                if _plain(text):
                    score = judge(text[:_SAMPLE], codec) - _DOUBT / len(text) ** 0.5
                    found.append(_Candidate(name, text, score))
                break
    return sorted(found, key=lambda candidate: -candidate.score)


def _plain(text: str) -> bool:
    """No control characters beside white space, and nothing of private use."""
    sample = set(text)
    return not any(
        ord(c) in _CONTROLS or 0x80 <= ord(c) < 0xA0 or 0xE000 <= ord(c) < 0xF900
        or ord(c) & 0xFFFF >= 0xFFFE or ord(c) >= 0xF0000
        for c in sample
    )  # fmt: skip


def _is_hanzi(c: str) -> bool:
    return "\u3400" <= c <= "\u9fff" or "\uf900" <= c <= "\ufaff" or c >= "\U00020000"


def _is_neutral(c: str) -> bool:
    """Punctuation that Chinese text has in every encoding."""
    return "\u2010" <= c <= "\u2027" or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uff65"


def _share(text: str, common: frozenset[str], level_1: Callable[[str], bool]) -> float:
    """Mean over all characters that tell encodings apart: common 1, first level 1/2, other 0."""
    points = weight = 0.0
    for c in text:
        if c < "\x80" or _is_neutral(c):
            continue
        weight += 1
        if _is_hanzi(c):
            points += 1.0 if c in common else 0.5 * level_1(c)
    return points / weight if weight else 0.0


def _simplified(text: str, _codec: str) -> float:
    def level_1(c: str) -> bool:
        code = c.encode("gb18030")
        return len(code) == 2 and 0xB0 <= code[0] <= 0xD7 and code[1] >= 0xA1

    return _share(text, COMMON_SIMPLIFIED, level_1)


def _traditional(text: str, codec: str) -> float:
    def level_1(c: str) -> bool:
        code = c.encode(codec)
        return len(code) == 2 and 0xA4 <= code[0] <= 0xC6

    return _share(text, COMMON_TRADITIONAL, level_1)


def _chinese(text: str, _codec: str) -> float:
    return _share(text, _COMMON, lambda c: _encodes(c, "gb2312") or _encodes(c, "cp950"))


def _encodes(c: str, codec: str) -> bool:
    try:
        c.encode(codec)
    except UnicodeEncodeError:
        return False
    return True


def _unicode(text: str, _codec: str) -> float:
    """Share of characters that are ASCII, kana, Chinese punctuation or common hanzi."""
    if not text:
        return 0.0
    points = 0.0
    for c in text:
        usual = c in _COMMON or _is_neutral(c) or "\u3041" <= c <= "\u30ff"
        if usual or " " <= c <= "~" or c in "\t\n\r":
            points += 1
        elif "\u4e00" <= c <= "\u9fa5":
            points += 0.4
        elif "\u00a0" <= c <= "\u04ff" or "\uac00" <= c <= "\ud7a3":
            points += 0.7
    return points / len(text)


def _strict(data: bytes, name: str) -> str:
    try:
        return data.decode(name)
    except UnicodeDecodeError as error:
        raise Unreadable(
            f"has the byte order mark of {name.upper()}, but byte {error.start} after it "
            "cannot be decoded"
        ) from None


def _text(text: str) -> str:
    nul = text.find("\x00")
    if nul >= 0:
        raise Unreadable(f"holds a NUL character at offset {nul}, so it is no text file")
    return text


def _why(data: bytes, offset: int, fitting: list[_Candidate]) -> str:
    nul = data.find(b"\x00")
    if nul >= 0:
        return f"holds a NUL byte at offset {nul}, so it is no text file"
    likely = [each.name for each in fitting if each.score >= _ENOUGH - _LEAD]
    if likely:
        names = " or ".join(name.upper() for name in likely[:2])
        return f"is not UTF-8 and could be {names}, which is too little to go by; convert it"
    return f"is not UTF-8 (byte {offset} cannot be decoded), UTF-16, GB18030 or Big5"
