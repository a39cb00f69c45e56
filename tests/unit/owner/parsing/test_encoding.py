"""Encodings are found, or the file is refused; text is never guessed wrongly."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_owner.parsing import Unreadable
from crag_owner.parsing.encoding import decode, decode_as, detect

SIMPLIFIED = (
    "企业数字化转型面临的主要挑战包括数据孤岛、人才不足和组织文化的阻力。\n"
    "公司应当先统一数据标准，再逐步替换旧系统，避免一次性推倒重来。"
)
TRADITIONAL = (
    "企業數位轉型面臨的主要挑戰包括資料孤島、人才不足和組織文化的阻力。\n"
    "公司應當先統一資料標準，再逐步替換舊系統，避免一次性推倒重來。"
)
RUSSIAN = (
    "Договор вступает в силу с момента подписания обеими сторонами и действует до конца года. "
)
JAPANESE = "日本国民は、正当に選挙された国会における代表者を通じて行動し、平和を維持する。"
KOREAN = "모든 국민은 인간으로서의 존엄과 가치를 가지며, 행복을 추구할 권리를 가진다."
FRENCH = "Ça a été créé l'été où Zoë mangeait des crêpes à la plage près de l'hôtel."
GERMAN = "Größe, Straße und Übermut: der Schlüssel für Müllers Büro liegt im Schränkchen."
XQUAD = Path(__file__).parents[4].parent / "shared" / "data" / "xquad" / "xquad.zh.json"


@pytest.mark.parametrize("text", [SIMPLIFIED, TRADITIONAL, RUSSIAN, JAPANESE, KOREAN, "plain"])
@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (b"\x84\x31\x95\x33", "gb18030"),
    ],
)
def test_unicode_and_every_byte_order_mark(text: str, mark: bytes, codec: str) -> None:
    assert detect(mark + text.encode(codec)) == (codec, text)


@pytest.mark.parametrize(
    ("text", "codec", "name"),
    [
        (SIMPLIFIED, "gb18030", "gb18030"),
        (SIMPLIFIED, "gbk", "gb18030"),
        (SIMPLIFIED, "gb2312", "gb18030"),
        (SIMPLIFIED[:12], "gb18030", "gb18030"),
        (SIMPLIFIED + "㐀𠀀龍 €", "gb18030", "gb18030"),
        ("Invoice 2026 total: 17 USD\n" * 40 + SIMPLIFIED, "gb18030", "gb18030"),
        (TRADITIONAL, "big5", "big5"),
        (TRADITIONAL, "cp950", "big5"),
        (TRADITIONAL[:12], "big5", "big5"),
        (TRADITIONAL + "香港人嘅嘢", "big5hkscs", "big5"),
        (SIMPLIFIED, "utf-16-le", "utf-16-le"),
        (TRADITIONAL, "utf-16-be", "utf-16-be"),
        (SIMPLIFIED.replace("\n", ""), "utf-16-le", "utf-16-le"),
        ("plain English\n", "utf-16-le", "utf-16-le"),
        ("plain English\n", "utf-16-be", "utf-16-be"),
        (RUSSIAN, "utf-16-le", "utf-16-le"),
        (JAPANESE + "\n", "utf-16-be", "utf-16-be"),
    ],
)
def test_without_a_mark_the_text_decides(text: str, codec: str, name: str) -> None:
    assert detect(text.encode(codec)) == (name, text)


@pytest.mark.parametrize(
    ("text", "codec"),
    [
        (RUSSIAN, "koi8-r"),
        (RUSSIAN, "cp1251"),
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc-jp"),
        (KOREAN, "euc-kr"),
        (FRENCH, "latin-1"),
        (GERMAN, "cp1252"),
        (FRENCH, "mac-roman"),
        ("Όλοι οι άνθρωποι γεννιούνται ελεύθεροι", "cp1253"),
        ("כל בני האדם נולדו בני חורין", "cp1255"),
    ],
)
def test_other_encodings_are_refused_not_garbled(text: str, codec: str) -> None:
    with pytest.raises(Unreadable, match="is not UTF-8"):
        detect((text * 3).encode(codec))


@pytest.mark.parametrize("codec", ["gb18030", "cp950"])
def test_two_rare_characters_are_too_little_to_go_by(codec: str) -> None:
    with pytest.raises(Unreadable, match="is not UTF-8"):
        detect("蘭芝".encode(codec))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a\x00b", "NUL byte at offset 1"),
        (bytes(range(256)), "NUL byte at offset 0"),
        (b"\x7fELF\x02\x01\x01\x00" + bytes(64), "NUL byte at offset 7"),
        (codecs.BOM_UTF8 + b"\xff", "has the byte order mark of UTF-8, but byte 0"),
        (codecs.BOM_UTF16_LE + b"a", "has the byte order mark of UTF-16-LE"),
        (codecs.BOM_UTF16_LE + b"a\0\0\0", "NUL character at offset 1"),
        (SIMPLIFIED.encode("gb18030")[:-1], "is not UTF-8"),
    ],
)
def test_binary_and_damaged_files_are_refused_with_the_place(data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(data)


def test_line_ends_become_newlines() -> None:
    assert decode("a\r\nb\rc\n".encode("utf-16")) == "a\nb\nc\n"


@pytest.mark.parametrize(
    ("text", "codec", "declared"),
    [
        (JAPANESE, "shift_jis", "Shift_JIS"),
        (KOREAN, "euc-kr", "euc-kr"),
        (SIMPLIFIED + "㐀", "gb18030", "gb2312"),
        (FRENCH, "cp1252", "ISO-8859-1"),
        (SIMPLIFIED, "utf-8", "no-such-charset"),
        (SIMPLIFIED, "gb18030", "us-ascii"),
        (SIMPLIFIED, "utf-8", "hex"),
        (SIMPLIFIED, "utf-8", "unicode_escape"),
    ],
)
def test_a_declared_encoding_is_used_where_it_fits(text: str, codec: str, declared: str) -> None:
    assert decode_as(text.encode(codec), declared) == text


@pytest.mark.skipif(not XQUAD.exists(), reason="the XQuAD data set is not on this machine")
def test_every_paragraph_of_a_real_corpus_is_read_back() -> None:
    articles = json.loads(XQUAD.read_text(encoding="utf-8"))["data"]
    texts = [p["context"].replace("\ufeff", "") for a in articles for p in a["paragraphs"]]
    assert len(texts) == 240
    for codec in ("gb18030", "utf-16-le", "utf-16-be"):
        assert [detect(text.encode(codec)) for text in texts] == [(codec, t) for t in texts]
    questions = [qa["question"] for a in articles for p in a["paragraphs"] for qa in p["qas"]]
    refused = 0
    for question in questions:
        try:
            assert decode(question.encode("gb18030")) == question
        except Unreadable:
            refused += 1
    assert refused < len(questions) / 100


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_decoded_strictly_or_refused(data: bytes) -> None:
    try:
        name, text = detect(data)
    except Unreadable:
        return
    assert "\x00" not in text or name == "utf-8"
    codec = "cp950" if name == "big5" else name
    marks = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE,
             codecs.BOM_UTF32_BE, b"\x84\x31\x95\x33", b"")  # fmt: skip
    encoded = text.encode(codec, "replace")
    assert name in ("big5", "gb18030") or any(mark + encoded == data for mark in marks)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.sampled_from(["utf-8-sig", "utf-16", "utf-32"]))
def test_what_carries_a_mark_is_read_back_whole(text: str, codec: str) -> None:
    clean = "".join(c for c in text if c not in "\x00\r" and not "\ud800" <= c <= "\udfff")
    assert decode(clean.encode(codec)) == clean
