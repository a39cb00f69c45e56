"""The file that gives documents their labels, and what is refused in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput
from crag_owner.ingest.labels_file import Labels, read_labels


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "labels.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_later_patterns_win_over_earlier_ones_and_those_over_the_option(tmp_path: Path) -> None:
    rules = read_labels(
        written(
            tmp_path,
            '{"*": {"team": "sales", "year": "2026"}, "law/*.pdf": {"team": "law"}, "x": {}}',
        )
    )
    labels = Labels({"team": "all", "site": "north"}, rules)
    assert labels.of("a.md") == {"team": "sales", "year": "2026", "site": "north"}
    assert labels.of("law/deep/b.pdf") == {"team": "law", "year": "2026", "site": "north"}
    assert labels.unused(["a.md"]) == ["law/*.pdf", "x"]
    assert Labels({"a": "b"}).of("x") == {"a": "b"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        '"text"',
        '{"*": "team"}',
        '{"*": {"team": 3}}',
        '{"*": {"team": null}}',
        '{"*": {"team": {"a": "b"}}}',
        '{"*": {"team": "a", "team": "b"}}',
        '{"*": {}, "*": {}}',
        '{"": {}}',
        '{"*": {" ": "x"}}',
        '{"*": {"a": "\\ud800"}}',
        b"\xff\xfe{}",
        "[" * 100_000,
    ],
)
def test_what_is_no_map_of_labels_is_refused(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(BadInput, match=r"labels\.json"):
        read_labels(written(tmp_path, text))


def test_a_file_that_is_not_there_or_too_long_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BadInput, match="cannot be read"):
            read_labels(path)
    with pytest.raises(BadInput, match="16 MiB"):
        read_labels(written(tmp_path, b" " * (16 * 1024 * 1024 + 1)))


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(min_size=1).filter(str.strip),
        st.dictionaries(st.text(min_size=1).filter(str.strip), st.text()),
    )
)
def test_what_json_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rules: dict[str, dict[str, str]]
) -> None:
    path = written(tmp_path_factory.mktemp("labels"), json.dumps(rules))
    assert dict(read_labels(path)) == rules
