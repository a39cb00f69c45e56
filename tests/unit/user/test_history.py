"""What was verified before is kept, and a change of it is told."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from crag_core.errors import BadInput
from crag_user.history import MAX_ENTRIES, History, change_text

URL = "http://rag.example:8000"


def report(register: str = "aa", **more: Any) -> dict[str, Any]:
    return {
        "verdict": "affirming",
        "insecure": False,
        "tee": "tdx",
        "measurements": {"mr_td": "11", "rtmr3": register, "report_data": register * 2},
        "policy_id": "default",
        "checks": [{"name": "status", "ok": True, "detail": ""}],
        **more,
    }


def refusal(name: str = "tcb") -> dict[str, Any]:
    checks = [{"name": name, "ok": False, "detail": "old"}]
    return report("ee", verdict="rejected", checks=checks)


def test_the_first_verification_is_no_change(tmp_path: Path) -> None:
    found = History(tmp_path / "h").note(URL, report(), 100)
    assert found == {"known": False, "changed": False, "previous": None, "changes": []}


def test_the_same_again_is_one_entry_with_both_times(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    for at in (100, 200, 300):
        found = history.note(URL, report(), at)
    assert found["known"] and not found["changed"]
    (entry,) = history.entries(URL)
    assert (entry["first"], entry["last"], entry["count"]) == (100, 300, 3)


def test_another_register_is_a_change_and_fresh_report_data_is_none(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.note(URL, report("aa"), 100)
    found = history.note(URL, report("bb"), 200)
    assert found["changed"]
    assert found["changes"] == [{"name": "rtmr3", "was": "aa", "is": "bb"}]
    assert found["previous"]["last"] == 100
    text = change_text(URL, found)
    assert "rtmr3: was aa, is bb" in text and "1970-01-01 00:01 UTC" in text
    assert "report_data" not in json.dumps(history.entries(URL))


@pytest.mark.parametrize("change", [{"tee": "sample"}, {"insecure": True}])
def test_weaker_evidence_is_a_change(tmp_path: Path, change: dict[str, Any]) -> None:
    history = History(tmp_path / "h")
    history.note(URL, report(), 100)
    assert history.note(URL, report(**change), 200)["changed"]


def test_a_refusal_is_kept_without_its_measurements_and_hides_no_change(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.note(URL, report("aa"), 100)
    assert not history.note(URL, refusal(), 200)["changed"]
    entry = history.entries(URL)[-1]
    assert (entry["verdict"], entry["refused_by"], entry["measurements"]) == ("rejected", "tcb", {})
    assert history.note(URL, report("bb"), 300)["changed"]


def test_a_change_that_is_changed_back_is_told_again(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    told = [history.note(URL, report(r), at)["changed"] for at, r in enumerate(["aa", "bb", "aa"])]
    assert told == [False, True, True]


def test_services_are_apart(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.note(URL, report("aa"), 100)
    assert not history.note("http://other:1", report("bb"), 100)["known"]
    assert [found["url"] for found in history.services()] == ["http://other:1", URL]
    assert history.forget(URL) and not history.forget(URL)
    assert not history.note(URL, report("cc"), 200)["known"]


def test_many_refusals_do_not_push_out_what_is_compared(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.note(URL, report("aa"), 1)
    for at in range(MAX_ENTRIES + 20):
        history.note(URL, refusal(f"check {at}"), at + 2)
    assert len(history.entries(URL)) == MAX_ENTRIES
    assert history.note(URL, report("bb"), 9999)["changed"]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format":"crag/history/v1","url":"x","entries":[{}]}', "[" * 100000],
)
def test_a_damaged_file_is_refused_and_not_replaced(tmp_path: Path, text: str) -> None:
    history = History(tmp_path / "h")
    history.note(URL, report(), 1)
    history.path(URL).write_text(text)
    with pytest.raises(BadInput, match="damaged"):
        history.note(URL, report("bb"), 2)
    assert history.path(URL).read_text() == text


def test_the_file_of_another_service_is_refused(tmp_path: Path) -> None:
    history = History(tmp_path / "h")
    history.note("http://other:1", report("bb"), 1)
    history.path("http://other:1").rename(history.path(URL))
    with pytest.raises(BadInput):
        history.entries(URL)


def _note_many(folder: Path) -> None:
    for _ in range(20):
        History(folder).note(URL, report(), 5)


def test_two_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    History(tmp_path / "h").note(URL, report(), 5)
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_note_many, args=(tmp_path / "h",)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert History(tmp_path / "h").entries(URL)[0]["count"] == 41
    assert (History(tmp_path / "h").path(URL).stat().st_mode & 0o777) == 0o600
