from __future__ import annotations

import unicodedata

from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.tags import content_tag, tag

KEY = bytes(range(32))
words = st.text(max_size=12)


@given(name=words, value=words)
@settings(max_examples=80, deadline=None)
def test_a_tag_is_16_bytes_and_the_same_for_every_unicode_form(name: str, value: str) -> None:
    made = tag(KEY, name, value)
    assert len(made) == 16
    for form in ("NFC", "NFD"):
        assert made == tag(KEY, name, unicodedata.normalize(form, value))


@given(one=st.tuples(words, words), two=st.tuples(words, words))
@settings(max_examples=80, deadline=None)
def test_tags_are_equal_only_for_equal_name_and_value(
    one: tuple[str, str], two: tuple[str, str]
) -> None:
    same = [unicodedata.normalize("NFC", part) for part in one] == [
        unicodedata.normalize("NFC", part) for part in two
    ]
    assert (tag(KEY, *one) == tag(KEY, *two)) == same


def test_moving_a_letter_from_name_to_value_gives_another_tag() -> None:
    assert tag(KEY, "ab", "c") != tag(KEY, "a", "bc")


def test_case_and_spaces_matter() -> None:
    assert len({tag(KEY, "team", value) for value in ("Red", "red", "red ", " red")}) == 4


def test_another_key_gives_other_tags() -> None:
    assert tag(KEY, "team", "red") != tag(bytes(32), "team", "red")
    assert content_tag(KEY, b"data") != content_tag(bytes(32), b"data")


@given(data=st.binary(max_size=100))
@settings(max_examples=40, deadline=None)
def test_a_content_tag_recognises_the_same_bytes_only(data: bytes) -> None:
    assert content_tag(KEY, data) == content_tag(KEY, bytes(data))
    assert content_tag(KEY, data) != content_tag(KEY, data + b"\0")
    assert len(content_tag(KEY, data)) == 32
