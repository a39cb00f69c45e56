"""What a person sees cannot be forged by what a service sends."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from crag_user.show import answer_lines, check_lines, clean, report_lines


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_nothing_that_a_terminal_obeys_is_shown(text: str) -> None:
    assert all(c == "\n" or c.isprintable() for c in clean(text))


def test_escape_sequences_and_direction_marks_are_gone() -> None:
    assert clean("a\x1b[2Jb\x9b1mc\u202ed\re\x07") == "a [2Jb 1mc d e "


def test_an_answer_shows_its_numbered_sources_with_the_quoted_text() -> None:
    citations = [
        {"n": 1, "source": "a.md", "page": 3, "text": "数字化\n转型", "score": 0.9},
        {"n": 2, "source": "b.txt", "page": None, "text": "word " * 40, "score": 0.5},
    ]
    shown = "\n".join(answer_lines("Yes [1].", citations))
    assert shown.startswith("Yes [1].")
    assert "  [1] a.md, page 3\n      “数字化 转型”" in shown
    assert "  [2] b.txt\n" in shown
    assert all(len(line) <= 88 for line in shown.splitlines())


def test_quotes_are_labelled_and_an_answer_without_sources_says_so() -> None:
    assert "quotes" in answer_lines("a", [], "quotes")[0]
    assert answer_lines("a", [])[-1] == "No sources."


def test_a_forged_line_in_a_report_stays_inside_its_own() -> None:
    lines = check_lines([{"name": "x", "ok": False, "detail": "bad\x1b[1A\rok"}])
    assert lines == ["  NO  x: bad [1A ok"]


def test_a_report_says_in_words_that_evidence_is_software_made() -> None:
    report = {
        "verdict": "affirming",
        "insecure": True,
        "tee": "sample",
        "measurements": {"measure_register": "ab"},
        "tcb": {},
        "gpu": [],
        "policy_id": "default",
        "token": {"issuer": "t", "issued": 0, "expires": 60},
        "checks": [],
    }
    lines = report_lines("http://h:1", report)
    assert lines[0] == "http://h:1: affirming (INSECURE: software evidence)"
    assert any("1970-01-01 00:01:00 UTC" in line for line in lines)
    strange = {**report, "token": {"issuer": "t", "expires": "1e999"}}
    assert any("1e999" in line for line in report_lines("http://h:1", strange))
