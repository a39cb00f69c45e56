"""What an ingest's command line asks for, labels, and the Trustee's resource names."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.errors import BadInput, UsageError
from crag_owner.ingest.expiry import Expiry
from crag_owner.ingest.labels_file import Labels
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.request import IngestRequest, parse_labels
from crag_owner.options import TrusteeSettings
from crag_owner.searching import MAX_QUESTION, check_question


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda key: "=" not in key and key.strip()), st.text()
    )
)
def test_labels_are_read_as_they_are_written(labels: dict[str, str]) -> None:
    assert parse_labels([f"{key}={value}" for key, value in labels.items()]) == labels


@pytest.mark.parametrize("given", [["team"], ["=sales"], [" =x"], ["a=1", "a=2"], [""]])
def test_a_label_without_a_key_or_twice_is_refused(given: list[str]) -> None:
    with pytest.raises(UsageError, match="label"):
        parse_labels(given)


@pytest.mark.parametrize("question", ["", " \n", "x" * (MAX_QUESTION + 1), "\udcff"])
def test_a_question_that_cannot_be_asked_is_refused(question: str) -> None:
    with pytest.raises(BadInput, match="question"):
        check_question(question)


def _request(tmp_path: Path, **changes: object) -> IngestRequest:
    values: dict[str, object] = {
        "named": [tmp_path], "base": None, "question": None, "labels": Labels(), "collection": "c",
        "search_mode": None, "scaling_factor": None, "approximation_factor": None, "fetch": None,
        "workers": None, "sync": False, "dry_run": False, "expiry": Expiry(),
    }  # fmt: skip
    return IngestRequest(**(values | changes))  # type: ignore[arg-type]


def test_nothing_to_ingest_and_sync_without_a_folder_are_refused(tmp_path: Path) -> None:
    _request(tmp_path, sync=True, question="why?").check()
    with pytest.raises(UsageError, match="nothing to ingest"):
        _request(tmp_path, named=[]).check()
    with pytest.raises(UsageError, match="needs a folder"):
        _request(tmp_path, named=[tmp_path / "a.txt"], sync=True).check()
    with pytest.raises(BadInput):
        _request(tmp_path, question=" ").check()


def test_resources_are_named_after_the_collection_or_as_given() -> None:
    settings = TrusteeSettings("http://127.0.0.1:1")
    assert settings.key_resource("docs") == "default/crag/docs-key"
    assert settings.snapshot_resource("docs") == "default/crag/docs-snapshot"
    given = TrusteeSettings("http://127.0.0.1:1", resource="kbs:///a/b/master")
    assert given.key_resource("docs") == "a/b/master"
    assert given.snapshot_resource("docs") == "a/b/master-snapshot"
    with pytest.raises(BadInput):
        TrusteeSettings(resource="kbs:///../x/y").key_resource("docs")
    with pytest.raises(BadInput):
        settings.key_resource("合同")


def test_a_report_has_the_members_of_the_contract() -> None:
    report = IngestReport("c", "database")
    assert list(report.as_json()) == [
        "collection", "search_mode", "documents", "chunks", "seconds", "failures", "snapshot",
        "search",
    ]  # fmt: skip
    report.documents["unchanged"] += 1
    report.fail("b.txt", "is empty", 7)
    report.fail("a.txt", "is empty", 2)
    assert report.readable == 1
    assert report.as_json()["documents"] == {
        "added": 0, "updated": 0, "unchanged": 1, "removed": 0, "failed": 2,
    }  # fmt: skip
    assert [each["path"] for each in report.failures] == ["a.txt", "b.txt"]
    report.lack("c.pdf", "page 2 holds no text", 1)
    assert report.as_json()["incomplete"] == [{"path": "c.pdf", "reason": "page 2 holds no text"}]
    assert IngestReport("c", "database", dry_run=True).as_json()["dry_run"] is True
