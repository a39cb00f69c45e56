"""Labels and dates from the command line to the hits, in both search modes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from support.owner import Owner, server_folder
from support.poll import until

DOCS = {
    "tea.md": "White tea is picked in the last days of March.",
    "law/lease.md": "The lease of the tea house ends in March.",
    "law/brief.md": "The tea tax is due at the end of March.",
}


@pytest.fixture(scope="module", params=["database", "enclave"])
def owner(request: pytest.FixtureRequest) -> Iterator[Owner]:
    """An owner with three documents whose labels come from option and file."""
    with server_folder() as folder:
        made = Owner(folder / "home", folder)
        for name, text in DOCS.items():
            path = folder / "docs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        rules = {"docs/law/*": {"team": "law"}, "docs/nothing*": {"team": "x"}}
        (folder / "labels.json").write_text(json.dumps(rules))
        made.ok("database", "start")
        try:
            done = made.run(*ingest(request.param), "--json")
            assert done.code == 0, done.err
            assert done.json["search_mode"] == request.param
            assert "docs/nothing*" in done.err and "docs/law" not in done.err
            yield made
        finally:
            made.run("database", "stop")


def ingest(mode: str | None = None) -> list[str]:
    chosen = ["--search-mode", mode] if mode else []
    labels = ["--label", "team=sales", "--label", "year=2026", "--labels-file", "labels.json"]
    return ["ingest", "-D", "docs", *labels, *chosen]


def found(owner: Owner, *labels: str) -> set[str]:
    given = [part for label in labels for part in ("--label", label)]
    hits = owner.ok("search", "What happens in March?", "-k", "10", *given)["hits"]
    return {hit["source"].removeprefix("docs/") for hit in hits}


def test_a_search_by_label_returns_what_has_it(owner: Owner) -> None:
    assert found(owner) == set(DOCS)
    assert found(owner, "team=law") == {"law/lease.md", "law/brief.md"}
    assert found(owner, "team=sales", "year=2026") == {"tea.md"}
    assert found(owner, "team=sales", "year=2025") == set()
    listed = owner.ok("list")["documents"]
    assert {each["source"]: each["labels"] for each in listed} == {
        "docs/tea.md": {"team": "sales", "year": "2026"},
        "docs/law/lease.md": {"team": "law", "year": "2026"},
        "docs/law/brief.md": {"team": "law", "year": "2026"},
    }
    assert owner.ok(*ingest())["documents"]["unchanged"] == 3
    assert owner.ok("verify")["ok"]


def test_a_document_past_its_date_is_not_found_and_is_purged(owner: Owner) -> None:
    moment = datetime.fromtimestamp(int(time.time()) + 10, UTC).isoformat()
    dated = ["ingest", "docs/law/brief.md", "--expires", moment]
    assert owner.ok(*dated)["documents"]["updated"] == 1
    (listed,) = [each for each in owner.ok("list")["documents"] if each["expires"]]
    assert listed["source"] == "docs/law/brief.md"
    assert "expires 20" in owner.run("list").out
    until(lambda: "law/brief.md" not in found(owner), 60)
    assert "expired 20" in owner.run("list").out
    refused = owner.run("show", listed["id"], "--json")
    assert refused.code == 30
    assert refused.error["code"] == "expired"
    assert owner.ok("verify")["ok"]
    (owner.work / "docs/law/brief.md").unlink()
    again = owner.ok("ingest", "docs/tea.md", "--label", "team=sales", "--label", "year=2026")
    assert again["documents"]["removed"] == 1
    assert again["documents"]["unchanged"] == 1
    assert len(owner.ok("list")["documents"]) == 2
    gone = owner.ok("purge")
    assert (gone["documents"], gone["rows"]) == (0, 0)
    assert owner.ok("verify")["ok"]


def test_a_past_date_and_a_broken_labels_file_are_refused_before_anything(owner: Owner) -> None:
    before = owner.ok("stats")["sequence"]
    assert owner.run("ingest", "docs", "--expires", "2020-01-01", "--json").error["exit"] == 2
    (owner.work / "broken.json").write_text('{"*": 3}')
    refused = owner.run("ingest", "docs", "--labels-file", "broken.json", "--json")
    assert refused.error["exit"] == 30
    assert "broken.json" in refused.error["message"]
    assert owner.ok("stats")["sequence"] == before
