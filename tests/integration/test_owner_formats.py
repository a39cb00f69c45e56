"""``crag-owner ingest`` on a folder with every format, bombs and broken files."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.store.settings import DatabaseSettings
from support import documents
from support.owner import Owner, postgres_on_tcp

MIB = 1024 * 1024
LAUGHS = b'<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><d>&b;</d>'


@pytest.fixture(scope="module")
def database() -> Iterator[DatabaseSettings]:
    with postgres_on_tcp() as running:
        yield running.user


@pytest.fixture
def owner(tmp_path: Path, database: DatabaseSettings) -> Owner:
    work = tmp_path / "work"
    work.mkdir()
    made = Owner(tmp_path / "home", work)
    made.use(database)
    made.settings["CRAG_COLLECTION"] = f"c{uuid.uuid4().hex}"
    return made


def _hostile() -> dict[str, bytes]:
    word = documents.docx([("Normal", "text")])
    return {
        "bomb.docx": documents.replaced(word, "bomb.bin", bytes(600 * MIB)),
        "laughs.docx": documents.replaced(word, "word/document.xml", LAUGHS),
        "broken.pdf": documents.pdf(["text"])[:300],
        "scan.pdf": documents.pdf(["", ""]),
        "locked.pdf": documents.pdf(["text"], password="secret"),
        "deep.json": b"[" * 100_000,
        "latin.txt": "Größe und Übermaß der Straße".encode("cp1252"),
        "picture.png": b"\x89PNG",
        "noise.xlsx": bytes(range(256)) * 100,
    }


def test_every_format_goes_in_and_every_bomb_stays_out(owner: Owner) -> None:
    docs = owner.work / "docs"
    docs.mkdir()
    good, bad = documents.folder(), _hostile()
    good["partly.pdf"] = documents.pdf(["The first page.", "", "The third page."])
    for name, data in {**good, **bad}.items():
        (docs / name).write_bytes(data)
    done = owner.run("ingest", "docs", "--json")
    assert done.code == 0, done.err
    report = done.json
    reasons = {failure["path"]: failure["reason"] for failure in report["failures"]}
    assert set(reasons) == {f"docs/{name}" for name in bad}
    assert "zip bomb" in reasons["docs/bomb.docx"]
    assert "XML bomb" in reasons["docs/laughs.docx"]
    assert "need text recognition" in reasons["docs/scan.pdf"]
    assert reasons["docs/locked.pdf"] == "is protected with a password"
    assert reasons["docs/deep.json"] == "is nested too deeply"
    assert "is not UTF-8" in reasons["docs/latin.txt"]
    assert report["documents"]["added"] == len(good)
    for path, reason in reasons.items():
        assert f"{path} was skipped: it {reason}." in done.err
    missing = "page 2 holds no text: if scanned, recognise the text first"
    assert report["incomplete"] == [{"path": "docs/partly.pdf", "reason": missing}]
    assert f"of docs/partly.pdf a part is missing: {missing}." in done.err
    assert owner.ok("verify")["ok"] is True

    hits = owner.ok("search", "What is the code of the vault?", "-k", "40")["hits"]
    pages = {hit["source"]: (hit["page"], hit["text"]) for hit in reversed(hits)}
    for name, what, page in (
        ("e.pdf", "pdf", 2),
        ("g.pptx", "pptx", 2),
        ("h.xlsx", "xlsx", 2),
        ("f.docx", "docx", None),
        ("m.eml", "eml", None),
    ):
        assert pages[f"docs/{name}"][0] == page
        assert f"the {what} vault is {len(what)}42" in pages[f"docs/{name}"][1]
    shown = owner.ok("show", "docs/g.pptx")["chunks"]
    assert [(chunk["page"], chunk["heading"]) for chunk in shown] == [
        (1, "Contents"),
        (2, "Vaults"),
    ]
    assert owner.ok("show", "docs/n.epub")["chunks"][0]["heading"] == "Book > Vaults"
    for name, word in (("p.txt", "数据孤岛"), ("q.txt", "資料孤島"), ("r.txt", "数据孤岛")):
        assert word in owner.ok("show", f"docs/{name}")["chunks"][0]["text"]

    again = owner.run("ingest", "docs", "--json").json
    assert again["documents"]["unchanged"] == len(good)
    assert again["chunks"]["written"] == 0
    assert again["snapshot"] == report["snapshot"]


def test_a_file_that_takes_too_much_costs_that_file_only(owner: Owner) -> None:
    docs = owner.work / "docs"
    docs.mkdir()
    rows = [{"number": n, "text": f"record {n} of many"} for n in range(400_000)]
    (docs / "large.json").write_text(json.dumps(rows))
    (docs / "small.txt").write_text("A small text about tea.")
    report = owner.ok("ingest", "docs", "--parse-memory", "64")
    assert report["documents"]["added"] == 1
    assert report["failures"] == [
        {
            "path": "docs/large.json",
            "reason": "needs more than 64 MiB of memory to be parsed",
        }
    ]
    report = owner.ok("ingest", "docs", "--parse-seconds", "0.05", "--dry-run")
    assert report["failures"] == [
        {"path": "docs/large.json", "reason": "takes more than 0.05 s to parse"}
    ]
    done = owner.run("ingest", "docs", "--parse-seconds", "0", "--json")
    assert done.code == 30


def test_how_a_collection_is_cut_is_chosen_once(owner: Owner) -> None:
    docs = owner.work / "docs"
    docs.mkdir()
    (docs / "a.txt").write_text("".join(f"第{n}条规定数据出境必须评估。" for n in range(60)))
    options = ("--chunk-size", "60", "--chunk-overlap", "0", "--chunk-strategy", "sentence")
    first = owner.ok("ingest", "docs", *options)
    chunks = owner.ok("show", "docs/a.txt")["chunks"]
    assert len(chunks) == first["chunks"]["total"] > 5
    assert all(chunk["text"].endswith("。") for chunk in chunks)
    assert sum(chunk["text"].count("。") for chunk in chunks) == 60
    # Without options, and with the same ones, the collection's own are kept.
    for again in ((), options):
        assert owner.ok("ingest", "docs", *again)["documents"]["unchanged"] == 1
    for option, value in (("size", "100"), ("overlap", "5"), ("strategy", "fixed")):
        done = owner.run("ingest", "docs", f"--chunk-{option}", value, "--json")
        assert done.code == 2
        assert f"has chunk {option}" in done.error["message"]
    other = owner.run("ingest", "docs", "--collection", "other", "--chunk-size", "5000", "--json")
    assert other.code == 30
