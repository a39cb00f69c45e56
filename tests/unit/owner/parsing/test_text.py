"""Text and Markdown to sections."""

from __future__ import annotations

import re
import time
from pathlib import PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_owner.parsing import SUFFIXES, Section, Unreadable, parser_for
from crag_owner.parsing.markdown import split_sections
from crag_owner.parsing.registry import PARSERS


def _parse(name: str, data: bytes) -> list[Section]:
    parser = parser_for(PurePath(name))
    assert parser is not None
    return list(parser.parse(data).sections)


def test_the_name_decides_the_parser() -> None:
    assert parser_for(PurePath("A.TXT")) is parser_for(PurePath("b.text"))
    assert parser_for(PurePath("x.MD")) is parser_for(PurePath("y.markdown"))
    assert parser_for(PurePath("x.png")) is None
    assert parser_for(PurePath("README")) is None
    promised = (
        ".txt .md .rst .html .pdf .docx .pptx .xlsx .csv .tsv .json .jsonl .eml .epub .py .c .java"
    )
    assert set(promised.split()) <= set(SUFFIXES)


def test_each_parser_has_a_versioned_name_and_endings_of_its_own() -> None:
    names = [parser.name for parser in PARSERS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z-]+/\d+", name) for name in names)
    suffixes = [suffix for parser in PARSERS for suffix in parser.suffixes]
    assert len(set(suffixes)) == len(suffixes)


def test_text_loses_its_byte_order_mark_and_carriage_returns() -> None:
    data = "\ufeff第一行\r\n第二行\rthird".encode()
    assert _parse("a.txt", data) == [Section("第一行\n第二行\nthird")]


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"a\x00b", "NUL byte at offset 1"), (b"\xff", "not UTF-8"), (b" \n", "is empty")],
)
def test_what_is_no_text_is_refused(name: str, data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        _parse(name, data)


def test_markdown_is_cut_at_its_headings_and_keeps_their_path() -> None:
    text = """intro

# 总则 #
text one
## Scope
### Empty
### People
staff

Second
------
more
# Last
end"""
    assert split_sections(text) == [
        Section("intro"),
        Section("# 总则 #\ntext one", "总则"),
        Section("## Scope\n### Empty\n### People\nstaff", "总则 > Scope > People"),
        Section("Second\n------\nmore", "总则 > Second"),
        Section("# Last\nend", "Last"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a\n```\n# not a heading\n```\nb",
        "a\n~~~~ md\n# no\n~~~\n# still no\n~~~~~\nb",
        "a\n```\n# an open fence reaches the end",
        "#no space",
        "####### seven",
        "    # indented code",
        "- item\n---\ntext",
        "> quote\n---\ntext",
        "| a | b |\n---\ntext",
        "first line\nsecond line\n---\ntext",
        "text\n\n---\n\nmore",
    ],
)
def test_what_only_looks_like_a_heading_is_text(text: str) -> None:
    assert split_sections(text) == [Section(text)]


def test_an_empty_heading_ends_the_one_before() -> None:
    assert split_sections("# A\nx\n#\ny") == [Section("# A\nx", "A"), Section("#\ny")]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["# a", "## b ##", "text", "", "---", "===", "```", "~~~", "- i", "> q", "    c", "#"]
        ),
        max_size=14,
    )
)
def test_no_line_of_markdown_is_lost_or_reordered(lines: list[str]) -> None:
    kept = [
        line for section in split_sections("\n".join(lines)) for line in section.text.split("\n")
    ]
    headings = {line for line in lines if line.startswith("#")} | {"---", "===", "text"}
    rest = iter(kept)
    for line in lines:
        if line and line not in headings:
            assert line in rest
    assert [line for line in lines if line == "text"] == [line for line in kept if line == "text"]


@pytest.mark.parametrize(
    "line",
    [
        "# " + " " * 300_000 + "x",
        "#" * 300_000,
        "# a" + " #" * 150_000,
        "-" * 300_000,
        "`" * 300_000,
    ],
    ids=["spaces", "hashes", "closings", "dashes", "ticks"],
)
def test_a_hostile_line_costs_no_more_than_its_length(line: str) -> None:
    begun = time.process_time()
    split_sections("t\n" + line + "\nt")
    assert time.process_time() - begun < 1.0
