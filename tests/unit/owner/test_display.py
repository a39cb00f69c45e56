"""Text that somebody else chose, on the owner's terminal."""

from __future__ import annotations

from pathlib import Path
from unicodedata import category

from hypothesis import given
from hypothesis import strategies as st

from crag_owner.display import is_unicode, path_name, printable


@given(st.text())
def test_nothing_that_steers_a_terminal_is_printed(text: str) -> None:
    shown = printable(text)
    assert not [char for char in shown if category(char)[0] == "C" and char not in "\n\t"]
    assert not {"\u2028", "\u2029"} & set(shown)


def test_ordinary_text_is_left_as_it_is() -> None:
    text = "白毫银针 — “tea”, 3.5 kWh\n\tindented 🍵　宽"
    assert printable(text) == text
    assert printable("a\x1b[31mb\x07\u202ec") == "a\\x1b[31mb\\x07\\u202ec"


def test_any_path_can_be_written() -> None:
    assert path_name(Path("docs/a b.txt")) == "docs/a b.txt"
    assert path_name(Path("\udcff.txt")) == "\\xff.txt"
    assert path_name(Path("a\nb")) == "a\\nb"
    assert is_unicode("数据") and not is_unicode("\udcff")
