"""Formats that are text with a structure: rst, source code, tables, JSON."""

from __future__ import annotations

import json
from pathlib import PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_owner.parsing import Section, Unreadable, parser_for
from crag_owner.parsing.rst import split_rst
from crag_owner.parsing.source import split_source


def _parse(name: str, text: str) -> list[Section]:
    parser = parser_for(PurePath(name))
    assert parser is not None
    return list(parser.parse(text.encode()).sections)


def test_rst_titles_nest_in_the_order_of_their_styles() -> None:
    text = """intro

=====
Guide
=====
one

旅行规定
--------
two

Hotels
~~~~~~
three

Meals
-----
four
"""
    assert [(s.heading, s.text.split("\n")[-1]) for s in split_rst(text)] == [
        ("", "intro"),
        ("Guide", "one"),
        ("Guide > 旅行规定", "two"),
        ("Guide > 旅行规定 > Hotels", "three"),
        ("Guide > Meals", "four"),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "a paragraph\nof two lines\n----",
        "Short underline\n---",
        "before\n\n----\n\nafter",
        "    indented\n    --------",
        "===  ===\na    b\n===  ===\n1    2\n===  ===",
        ".. include:: /etc/passwd",
        "旅行规定\n----",
    ],
)
def test_what_only_looks_like_a_title_is_text(text: str) -> None:
    assert split_rst(text) == [Section(text)]


def test_source_is_cut_at_definitions_with_what_stands_right_above_them() -> None:
    text = """import os

# Adds.
@cache
def add(a, b):
    return a + b

class Sum:
    def inner(self): ...
"""
    assert split_source(text) == [
        Section("import os"),
        Section("# Adds.\n@cache\ndef add(a, b):\n    return a + b", "def add"),
        Section("class Sum:\n    def inner(self): ...", "class Sum"),
    ]


@pytest.mark.parametrize(
    ("line", "heading"),
    [
        ("func (s *Server) Serve() {", "func Serve"),
        ("pub(crate) async fn run<T>(x: T) {", "fn run"),
        ("export default class App {", "class App"),
        ("public static class Tool {", "class Tool"),
        ("CREATE TABLE crag.rows (", "CREATE TABLE crag.rows"),
        ("type Point = struct {", "type Point"),
        ("impl<T> Stack<T> {", "impl Stack"),
        ("    def method(self):", ""),
        ("definitely not a definition", ""),
    ],
)
def test_definitions_of_many_languages_are_known(line: str, heading: str) -> None:
    assert split_source(f"{line}\n  body") == [Section(f"{line}\n  body", heading)]


@pytest.mark.parametrize("split", [split_rst, split_source])
@settings(max_examples=150, deadline=None)
@given(
    lines=st.lists(
        st.sampled_from(["def a():", "# c", "x = 1", "", "====", "----", "Title", "  i"]),
        max_size=14,
    )
)
def test_no_line_is_lost_or_reordered(split: object, lines: list[str]) -> None:
    sections = split("\n".join(lines))  # type: ignore[operator]
    kept = [line for section in sections for line in section.text.split("\n") if line.strip()]
    assert kept == [line for line in lines if line.strip()]


def test_rows_of_a_table_name_their_columns() -> None:
    text = 'name,city,note\n张伟,北京,"said ""hi""\nthere"\nBo,,x\n'
    assert _parse("a.csv", text) == [
        Section(
            'name | city | note\nname: 张伟; city: 北京; note: said "hi" there\nname: Bo; note: x'
        )
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found(delimiter: str) -> None:
    rows = [["id", "text"], ["1", "a b"], ["2", "c d"]]
    text = "\n".join(delimiter.join(row) for row in rows)
    for name in ("a.csv", "a.tsv"):
        assert _parse(name, text)[0].text == "id | text\nid: 1; text: a b\nid: 2; text: c d"


def test_a_table_without_a_header_is_given_as_it_is() -> None:
    assert _parse("a.csv", "1,2\n3,4\n")[0].text == "1 | 2\n3 | 4"
    assert _parse("a.csv", "just\nlines\n")[0].text == "just\nlines"


def test_a_cell_that_never_ends_is_refused() -> None:
    with pytest.raises(Unreadable, match="is no table"):
        _parse("a.csv", 'a,"' + "x\n" * 600_000)


def test_json_becomes_names_and_values() -> None:
    value = {
        "title": "报告",
        "year": 2026,
        "people": [{"name": "Ada", "tags": ["a", "b"]}, {"name": "Bo", "age": None}],
        "nothing": {},
    }
    assert _parse("a.json", json.dumps(value, ensure_ascii=False)) == [
        Section("title: 报告\nyear: 2026\nnothing: {}"),
        Section("name: Ada\ntags:\n  a\n  b\n\nname: Bo\nage: null", "people"),
    ]
    assert _parse("a.json", '["x", 1.50, true]') == [Section("x\n1.5\ntrue")]


def test_json_lines_are_records_divided_by_blank_lines() -> None:
    text = '{"q": "why?", "a": "so"}\n\n{"q": "为什么?"}\n'
    assert _parse("a.jsonl", text) == [Section("q: why?\na: so\n\nq: 为什么?")]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", '{"a": 1,\n "b": }', "is not JSON in line 2, column 7"),
        ("a.jsonl", '{"a": 1}\n{"a"', "is not JSON in line 2, column"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", "[" * 400 + "]" * 400, "nested too deeply"),
        ("a.json", "9" * 10_000, "number that is too long"),
    ],
)
def test_broken_json_is_refused_with_its_place(name: str, text: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        _parse(name, text)
