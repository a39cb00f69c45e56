"""The report: sentences follow the figures, the page loads nothing and escapes everything."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import numpy as np
import pytest

from crag_owner.audit.findings import NONE, ROTATION, Finding, Report
from crag_owner.audit.page import page
from crag_owner.audit.plan import run
from crag_owner.audit.schemes import fresh
from crag_owner.audit.subject import Subject
from crag_owner.audit.summary import summary
from crag_owner.audit.svg import Series, lines
from crag_owner.audit.verdict import sentences
from support.clouds import cloud

DIMENSION = 32
HOSTILE = '<script>alert("x")</script>&'


@pytest.fixture(scope="module")
def report() -> Report:
    """A real audit of 120 synthetic rows."""
    vectors, topics = cloud(120, DIMENSION, topics=5)
    foreign, _ = cloud(30, DIMENSION, seed=3)
    encrypt = fresh(DIMENSION, 0.5)
    subject = Subject(
        name=HOSTILE,
        search_mode="database",
        factor=0.5,
        total_rows=400,
        plain=vectors,
        stored=encrypt(vectors),
        encrypt=encrypt,
        labels={HOSTILE: topics},
        foreign=foreign,
        row_sizes=[256] * 100 + [512] * 20,
        document_sizes=[256, 512],
    )
    return run(subject, factors=(2.0,), shares=(1.0, 0.0), seed=1)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _parsed(report: Report) -> _Page:
    parsed = _Page()
    parsed.feed(page(report))
    return parsed


def test_every_kind_of_attack_is_reported_at_every_factor(report: Report) -> None:
    assert report.factors() == [0.5, 2.0]
    for factor in report.factors():
        for attack in ("candidates", "known pairs", "no pairs", "duplicates", "distances"):
            assert report.select(attack, factor=factor), (attack, factor)
        methods = {each.method for each in report.select("known pairs", factor=factor)}
        assert {"procrustes", "anchors", "ridge", "pairs and candidates"} <= methods
        assert {each.x for each in report.select("no pairs", factor=factor)} == {1.0, 0.0}
    assert report.select("sizes") and report.select("access")
    assert all(-1.0 <= each.value <= 1.0 for each in report.findings)


def test_a_list_of_candidates_breaks_plain_noise_and_not_the_rotation(report: Report) -> None:
    plain = report.select("candidates", scheme=NONE, factor=0.5)[0]
    rotated = report.select("candidates", scheme=ROTATION, factor=0.5)[0]
    assert plain.value > 0.95
    assert rotated.value < 0.1


def test_the_page_is_well_formed_and_loads_nothing(report: Report) -> None:
    parsed = _parsed(report)
    assert parsed.open == []
    assert parsed.tags.count("svg") == 5
    assert not {"script", "link", "img", "iframe", "object"} & set(parsed.tags)
    assert not [name for name, _ in parsed.attributes if name in ("src", "href", "xlink:href")]
    assert "url(" not in page(report) and "@import" not in page(report)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in parsed.attributes


def test_names_from_the_collection_cannot_become_markup(report: Report) -> None:
    assert HOSTILE not in page(report)
    assert HOSTILE in _parsed(report).text


def test_the_page_says_a_keyed_coordinate_shuffle_and_the_three_sentences(report: Report) -> None:
    text = _parsed(report).text
    assert "keyed coordinate shuffle" in text
    assert len(report.sentences) == 3
    assert all(sentence in text for sentence in report.sentences)


def test_the_json_is_plain_data_with_chance_beside_each_value(report: Report) -> None:
    found = json.loads(json.dumps(report.as_json()))
    assert found["approximation_factor"] == 0.5
    assert found["rows"] == 400 and found["attacked"] == 120 and found["candidates"] == 150
    assert len(found["findings"]) == len(report.findings)
    assert all({"value", "chance", "scheme", "setting"} <= set(f) for f in found["findings"])


def test_the_table_has_a_column_for_each_factor_and_marks_the_collections_own(
    report: Report,
) -> None:
    head, rows = summary(report)
    assert head[1:] == ["factor 0.5 *", "factor 2"]
    assert all(len(row) == 3 for row in rows)
    assert "candidates, keyed coordinate shuffle" in {row[0] for row in rows}


def _made(mode: str, *findings: Finding) -> Report:
    made = Report("c", mode, 1.0, 100, 100, 8, 100, 0.6, list(findings))
    made.sizes = {"rows": {"items": 100.0, "identified": 0.05}}
    return made


def test_the_sentences_name_the_least_that_an_attacker_needs() -> None:
    pairs = [
        Finding("known pairs", "anchors", ROTATION, 1.0, "", value, 0.0, x=x)
        for x, value in ((8.0, 0.2), (16.0, 0.9), (64.0, 1.0))
    ]
    blind = [
        Finding("no pairs", "axes", ROTATION, 1.0, "", value, 0.0, x=x)
        for x, value in ((1.0, 1.0), (0.5, 0.8), (0.0, 0.0))
    ]
    first = sentences(_made("database", *pairs, *blind))[0]
    assert "16 texts" in first and "50% of your texts" in first
    other = sentences(_made("database", Finding("no pairs", "", ROTATION, 1.0, "", 0.9, 0.0, x=0)))
    assert "other texts of the same kind" in other[0]
    nothing = sentences(_made("database", Finding("no pairs", "", ROTATION, 1.0, "", 0.1, 0.0)))
    assert "no proof" in nothing[0]


def test_the_last_sentence_depends_on_the_mode() -> None:
    assert "use mode `enclave`" in sentences(_made("database"))[2]
    assert "is in mode `enclave`" in sentences(_made("enclave"))[2]
    assert "5.0% of the rows" in sentences(_made("enclave"))[2]


def test_a_plot_holds_every_point_inside_its_frame() -> None:
    points = [(4.0, -1.0), (64.0, 0.5), (1536.0, 2.0)]
    drawn = lines([Series("a<b", points)], title="t", x_label="x", y_label="y", logarithmic=True)
    assert drawn.count("<circle") == 3
    assert "a&lt;b" in drawn and "a<b" not in drawn
    heights = [float(part.split('"')[1]) for part in drawn.split("cy=")[1:]]
    assert min(heights) >= 0.0 and max(heights) <= 300.0
    assert lines([Series("a", [])], title="t", x_label="x", y_label="y") == ""
    assert np.isfinite(heights).all()
