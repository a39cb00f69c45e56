"""The pipeline's threads: what overlaps, what bounds them, how they end."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from crag_core.collection import DocumentDraft, DocumentInfo, LabelDraft, PutResult
from crag_core.console import Console
from crag_core.errors import CragError, Unreachable
from crag_owner.chunking import Chunk, ChunkingPolicy
from crag_owner.files import Corpus
from crag_owner.ingest.labels_file import Labels
from crag_owner.ingest.pipeline import BATCH_CHUNKS, Pipeline
from crag_owner.ingest.preparing import Prepared
from crag_owner.ingest.report import IngestReport
from crag_owner.ingest.target import Target
from crag_owner.parsing import Parser, Unreadable
from support.database import vector_of
from support.poll import until

SECONDS = 30
AT_ONCE = 16


class Rows:
    """A collection that keeps what it is given; ``before`` runs before each transaction."""

    def __init__(self, before: Callable[[Sequence[DocumentDraft]], None]) -> None:
        self.documents: dict[str, DocumentDraft] = {}
        self.batches: list[int] = []
        self.relabelled: list[LabelDraft] = []
        self.stale: set[str] = set()
        self.before = before

    def content_tag(self, data: bytes) -> bytes:
        return data

    def find_many(self, sources: Sequence[str]) -> dict[str, DocumentInfo]:
        known = {source: self.documents[source] for source in sources if source in self.documents}
        return {source: _info(document) for source, document in known.items()}

    def relabel(self, drafts: Sequence[LabelDraft]) -> list[PutResult]:
        self.relabelled += drafts
        return [
            PutResult(draft.source, "stale" if draft.source in self.stale else "updated", 1)
            for draft in drafts
        ]

    def put_documents(self, drafts: Sequence[DocumentDraft]) -> list[PutResult]:
        self.before(drafts)
        self.documents |= {draft.source: draft for draft in drafts}
        self.batches.append(sum(len(draft.chunks) for draft in drafts))
        return [PutResult(draft.source, "added", len(draft.chunks)) for draft in drafts]


def _info(document: DocumentDraft) -> DocumentInfo:
    return DocumentInfo(
        id=document.source,
        source=document.source,
        labels=document.labels,
        added="",
        updated="",
        expires=document.expires,
        content_tag=document.content_tag,
        members=[(b"", b"")] * len(document.chunks),
    )


class World:
    """All parts around a pipeline, as target, collection, embedder and preparation at once.

    A file's text says how many chunks it has; ``broken`` is one that cannot be read.
    """

    name = "fake"
    passages_at_once = AT_ONCE
    ahead = 64

    def __init__(self, folder: Path, sizes: Sequence[int], threads: int = 2) -> None:
        self.threads = threads
        self.before_parse: Callable[[], None] = lambda: None
        self.before_embed: Callable[[Sequence[str]], None] = lambda _texts: None
        self.collection = Rows(lambda _drafts: None)
        self.policy = ChunkingPolicy()
        self.embedder = self.anchors = self
        self.calls: list[int] = []
        self.parsed = 0
        self.stopped = self.closed = False
        self._guard = threading.Lock()
        for number, size in enumerate(sizes):
            (folder / f"{number:04}.txt").write_text(str(size))
        self.corpus = Corpus.of([folder], folder)
        self.report = IngestReport("c", "database")
        self.pipeline = Pipeline(cast(Target, self), self, self.report, Console(quiet=True))

    def prepare(
        self, parser: Parser, suffix: str, data: bytes, check: Callable[[], None]
    ) -> Prepared:
        self.before_parse()
        if not data.isdigit():
            raise Unreadable("is broken")
        with self._guard:
            number = self.parsed
            self.parsed += 1
        texts = [f"{number}:{index}" for index in range(int(data))]
        return Prepared([Chunk(text, text) for text in texts])

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self.closed = True

    def require(self) -> Rows:
        return self.collection

    def save(self, _collection: Rows) -> None:
        """As the anchors do."""

    def passages(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before_embed(texts)
        self.calls.append(len(texts))
        return np.stack([vector_of(text) for text in texts])

    def again(self, **labels: str) -> None:
        """Run once more over the same files, with these labels."""
        self.calls, self.parsed = [], 0
        self.report = IngestReport("c", "database")
        self.pipeline = Pipeline(
            cast(Target, self), self, self.report, Console(quiet=True), Labels(labels)
        )
        self.run()

    def run(self) -> None:
        self.pipeline.run(self.corpus)

    def fails(self, error: type[BaseException]) -> None:
        """Run; the error comes out, and no thread and no room is left behind."""
        with pytest.raises(error):
            self.run()
        assert (self.stopped, self.closed) == (True, True)
        assert _threads() == []


def _threads() -> list[str]:
    """The pipeline's own; other tests of this worker may have left threads of other parts."""
    names = ("crag-parse", "crag-writer")
    return [each.name for each in threading.enumerate() if each.name.startswith(names)]


def test_every_chunk_has_its_own_vector_whatever_the_sizes(tmp_path: Path) -> None:
    @settings(max_examples=15, deadline=None)
    @given(
        st.lists(st.integers(1, 70), min_size=1, max_size=25),
        st.integers(1, 4),
        st.integers(1, 40),
        st.integers(1, 300),
    )
    def check(sizes: list[int], threads: int, at_once: int, room: int) -> None:
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            world = World(Path(folder), sizes, threads)
            world.passages_at_once, world.pipeline.room.chunks = at_once, room
            world.run()
        found = world.collection.documents
        assert [len(found[source].chunks) for source in sorted(found)] == sizes
        for document in found.values():
            number = document.chunks[0].text.split(":")[0]
            assert [c.text for c in document.chunks] == [
                f"{number}:{index}" for index in range(len(document.chunks))
            ]
            for chunk in document.chunks:
                assert np.array_equal(chunk.vector, vector_of(chunk.text))
        assert world.report.chunks == world.report.written == sum(sizes)
        assert world.report.documents["added"] == len(sizes)
        assert world.pipeline.room.held == 0
        assert max(world.calls) <= at_once
        assert _threads() == []

    check()


def test_parsing_embedding_and_writing_happen_at_the_same_time(tmp_path: Path) -> None:
    world = World(tmp_path, [BATCH_CHUNKS] * 8)
    # Three threads must stand here at once: one that parses, one that embeds, one that writes.
    met = threading.Barrier(3, timeout=SECONDS)
    arrived: set[str] = set()

    def meet(who: str) -> None:
        if who not in arrived:
            arrived.add(who)
            met.wait()

    def parse() -> None:
        # The first three files are what is written and embedded meanwhile.
        if world.parsed >= 3:
            meet("parser")

    def embed(_texts: Sequence[str]) -> None:
        if sum(world.calls) >= BATCH_CHUNKS:
            meet("embedder")

    world.before_parse, world.before_embed = parse, embed
    world.collection.before = lambda _drafts: meet("writer")
    world.threads = 1
    world.run()
    assert not met.broken
    assert len(world.collection.documents) == 8


def test_small_files_fill_a_batch_of_the_embedder(tmp_path: Path) -> None:
    world = World(tmp_path, [3] * 40)

    def embed(_texts: Sequence[str]) -> None:
        until(lambda: world.parsed == 40, SECONDS, "all files parsed")

    world.before_embed = embed
    world.run()
    # Only the first batch had to make do with what was there, and the last with what was left.
    assert world.calls[1:-1] == [AT_ONCE] * len(world.calls[1:-1])
    assert len(world.calls) <= -(-120 // AT_ONCE) + 1


@pytest.mark.parametrize("documents", [60, 600])
def test_what_is_under_way_does_not_grow_with_the_corpus(tmp_path: Path, documents: int) -> None:
    largest, threads, room = 40, 3, 200
    world = World(tmp_path, [1 + number % largest for number in range(documents)], threads)
    world.pipeline.room.chunks = room
    bound = room + threads * largest
    total = sum(1 + number % largest for number in range(documents))
    held: list[int] = []
    stalled: list[int] = []

    def write(_drafts: Sequence[DocumentDraft]) -> None:
        # The database is slow until nobody can go on: then as much is held as ever will be.
        left = total - sum(world.collection.batches)
        if len(stalled) < 3 and left > bound + threads * largest:
            full = world.pipeline.room
            until(lambda: full.waiting == threads, SECONDS, "parsers that wait for room")
            stalled.append(full.held)
        held.append(world.pipeline.room.held)

    world.collection.before = write
    world.run()
    assert room <= max(stalled) <= bound
    assert max(held) <= world.pipeline.room.most <= bound
    assert len(world.collection.documents) == documents


def test_one_document_larger_than_the_room_goes_through_whole(tmp_path: Path) -> None:
    world = World(tmp_path, [5, 900, 5])
    world.pipeline.room.chunks = 100
    world.run()
    assert world.report.written == 910
    assert any(batch >= 900 for batch in world.collection.batches)


def test_a_slow_database_gets_larger_transactions(tmp_path: Path) -> None:
    world = World(tmp_path, [20] * 50)

    def write(_drafts: Sequence[DocumentDraft]) -> None:
        until(lambda: sum(world.calls) == 1000 or world.collection.batches, SECONDS, "embedded")

    world.collection.before = write
    world.run()
    assert len(world.collection.batches) == 2


def test_a_broken_file_costs_that_file_and_failures_keep_their_order(tmp_path: Path) -> None:
    world = World(tmp_path, [2] * 30, threads=4)
    broken = ["0003.txt", "0017.txt", "0029.txt"]
    for name in broken:
        (tmp_path / name).write_text("no number")
    world.run()
    assert [Path(each["path"]).name for each in world.report.failures] == broken
    assert world.report.documents["failed"] == 3
    assert sorted(world.collection.documents) == [
        f"{number:04}.txt" for number in range(30) if f"{number:04}.txt" not in broken
    ]


def test_an_error_of_the_writer_ends_the_run_and_nothing_is_written_after_it(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, [BATCH_CHUNKS] * 20)

    def write(_drafts: Sequence[DocumentDraft]) -> None:
        if world.collection.batches:
            raise Unreachable("The database is gone.")

    world.collection.before = write
    world.fails(Unreachable)
    assert len(world.collection.batches) == 1


def test_an_error_of_the_embedder_ends_the_run(tmp_path: Path) -> None:
    world = World(tmp_path, [BATCH_CHUNKS] * 20)

    def embed(_texts: Sequence[str]) -> None:
        if len(world.calls) > 20:
            raise Unreachable("The embedding server is gone.")

    world.before_embed = embed
    world.fails(Unreachable)


def test_a_parser_thread_that_cannot_go_on_ends_the_run(tmp_path: Path) -> None:
    world = World(tmp_path, [4] * 20)

    def parse() -> None:
        if world.parsed > 5:
            raise CragError("The parsing sandbox did not start.")

    world.before_parse = parse
    world.fails(CragError)


def test_an_interrupt_ends_threads_that_wait_for_room(tmp_path: Path) -> None:
    world = World(tmp_path, [50] * 40, threads=3)
    world.pipeline.room.chunks = 100

    def embed(_texts: Sequence[str]) -> None:
        until(lambda: world.pipeline.room.waiting == 3, SECONDS, "parsers that wait for room")
        raise KeyboardInterrupt

    world.before_embed = embed
    world.fails(KeyboardInterrupt)
    assert world.collection.documents == {}


def test_a_dry_run_embeds_and_writes_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, [300] * 20)
    world.pipeline.dry_run = True
    world.run()
    assert (world.calls, world.collection.batches) == ([], [])
    assert world.report.documents["added"] == 20
    assert world.report.chunks == 6000
    assert world.pipeline.room.held == 0


def test_unchanged_files_are_neither_parsed_nor_embedded(tmp_path: Path) -> None:
    world = World(tmp_path, [3] * 100)
    world.run()
    world.again()
    assert (world.parsed, world.calls, world.collection.relabelled) == (0, [], [])
    assert world.report.documents["unchanged"] == 100
    assert world.report.chunks == 300


def test_other_labels_are_written_without_parsing_or_embedding(tmp_path: Path) -> None:
    world = World(tmp_path, [3] * 100)
    world.run()
    (tmp_path / "0007.txt").write_text("5")
    world.again(team="sales")
    assert world.parsed == 1
    assert world.calls == [5]
    assert len(world.collection.relabelled) == 99
    assert {dict(draft.labels)["team"] for draft in world.collection.relabelled} == {"sales"}
    assert world.report.documents["updated"] == 99
    assert world.report.chunks == 302
    assert world.pipeline.room.held == 0


def test_a_document_that_somebody_replaced_meanwhile_is_put_whole(tmp_path: Path) -> None:
    world = World(tmp_path, [3] * 10)
    world.run()
    world.collection.stale = {"0002.txt", "0009.txt"}
    world.again(team="sales")
    assert (world.parsed, sum(world.calls)) == (2, 6)
    for source in world.collection.stale:
        assert dict(world.collection.documents[source].labels) == {"team": "sales"}
    assert world.report.chunks == 30
    assert world.pipeline.room.held == 0


def test_a_dry_run_counts_other_labels_as_an_update(tmp_path: Path) -> None:
    world = World(tmp_path, [3] * 10)
    world.run()
    world.pipeline = Pipeline(
        cast(Target, world), world, world.report, Console(quiet=True), Labels({"team": "sales"})
    )
    world.pipeline.dry_run = True
    world.report.documents["updated"] = 0
    world.run()
    assert world.report.documents["updated"] == 10
    assert world.collection.relabelled == []
