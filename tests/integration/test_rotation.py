"""A collection goes to its next epoch: same content, other keys, readers without a gap."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable

import numpy as np
import pytest

from crag_core.collection import Collection
from crag_core.collection.rotation import Changes, Rotated, abort, rotate
from crag_core.collection.translation import row_points
from crag_core.errors import BadInput, IntegrityViolated, Unreachable
from crag_core.keys import MasterKey
from crag_core.snapshot import Anchor
from crag_core.store.interface import StoredRow
from crag_core.store.postgres import PostgresStore
from crag_core.vectors import grid
from support.database import Postgres, Tables, draft, new_collection, vector_of

QUESTION = vector_of("passage 1 of doc-2.txt in version 1")


def content(collection: Collection) -> dict[str, object]:
    """Everything that a rotation must leave as it is."""
    return {
        info.source: (
            dict(info.labels),
            info.added,
            info.updated,
            info.expires,
            [
                (row.text, row.page, row.heading, row.index, dict(row.metadata))
                for row in collection.chunks_of(info)
            ],
        )
        for info in collection.documents()
    }


def stored_rows(store: PostgresStore, collection: Collection) -> list[StoredRow]:
    """All rows in an order that does not depend on ids: by text."""
    texts = {
        row.chunk_id: row.text
        for info in collection.documents()
        for row in collection.chunks_of(info)
    }
    with store.reader() as reader:
        rows = [row for batch in reader.rows(collection._context.generation) for row in batch]
    import uuid

    return sorted(rows, key=lambda row: texts[str(uuid.UUID(bytes=row.id))])


def tables(postgres: Postgres, number: int) -> set[str]:
    found = postgres.sql(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'crag' AND tablename ~ %s",
        f"^(rows|documents)_{number}_",
    )
    return {name for (name,) in found}


def test_content_stays_and_everything_that_the_database_sees_changes(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    labelled = draft(collection, "labelled.txt", labels={"team": "red"}, expires=4_000_000_000)
    collection.put_documents([labelled])
    before, rows = content(collection), stored_rows(store, collection)
    old, anchor = collection.snapshot(), Anchor.of(collection.snapshot())
    number = Tables.of(postgres, collection).number
    done = rotate(store, collection.name, owner_key)
    fresh = Collection.open(store, collection.name, owner_key)
    assert content(fresh) == before
    assert (done.profile.epoch, done.copied, done.resumed) == (2, len(rows), False)
    assert fresh.profile.salt != collection.profile.salt
    new = fresh.snapshot()
    assert (new.sequence, new.previous, new.origin) == (old.sequence + 1, old.digest, old.salt)
    assert fresh.verify(anchor).ok
    assert tables(postgres, number) == {f"rows_{number}_2", f"documents_{number}_2"}
    for one, other in zip(rows, stored_rows(store, fresh), strict=True):
        for column in ("id", "iv", "vector", "nonce", "ciphertext"):
            assert getattr(one, column) != getattr(other, column)
        assert not set(one.tags) & set(other.tags)
        assert len(one.tags) == len(other.tags)
        assert one.expires == other.expires
    assert done.cleared.rewritten


def test_what_the_database_keeps_of_the_old_epoch(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    old = collection.profile.salt
    rotate(store, collection.name, owner_key)
    kept = postgres.sql(
        "SELECT (SELECT string_agg(profile, ' ') FROM crag.collections WHERE name = %s),"
        " (SELECT count(*) FROM crag.rotations), "
        " (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'collections')",
        collection.name,
    )[0]
    assert old not in kept[0]
    assert kept[1] == 0
    # The files themselves, without the write-ahead log.
    (path,) = postgres.sql("SELECT pg_relation_filepath('crag.collections')")[0]
    postgres.sql("CHECKPOINT")
    data = (postgres.data / str(path)).read_bytes()
    assert collection.name.encode() in data
    assert old.encode() not in data


def test_documents_are_recognised_in_every_epoch(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    for _ in range(2):
        rotate(store, collection.name, owner_key)
        opened = Collection.open(store, collection.name, owner_key)
        again = opened.put_documents([draft(opened, f"doc-{number}.txt") for number in range(6)])
        assert {result.status for result in again} == {"unchanged"}


def test_ten_rotations_leave_the_vectors_of_one_bit_for_bit(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    original = {
        f"passage {index} of doc-{number}.txt in version 1": vector_of(
            f"passage {index} of doc-{number}.txt in version 1"
        )
        for number in range(6)
        for index in range(3)
    }
    first = row_points(collection._context, stored_rows(store, collection))
    wanted = [original[text] for text in sorted(original)]
    hits = collection.search(QUESTION, k=18)
    scores = []
    for epoch in range(2, 12):
        # Other factors on the way must not matter either.
        beta = {5: 3.0, 6: 0.0, 7: 1.0}.get(epoch)
        changes = Changes(approximation_factor=beta, scaling_factor=2.0 if epoch == 8 else None)
        assert rotate(store, collection.name, owner_key, changes=changes).profile.epoch == epoch
        opened = Collection.open(store, collection.name, owner_key)
        points = row_points(opened._context, stored_rows(store, opened))
        np.testing.assert_array_equal(points, first)
        found = opened.search(QUESTION, k=18)
        assert [hit.text for hit in found] == [hit.text for hit in hits]
        scores.append([hit.score for hit in found])
    error = np.abs(np.array(scores) - [[float(QUESTION @ original[hit.text]) for hit in hits]])
    # The rounding of one epoch's float16 values, not of ten: 24 dimensions, tens of 1e-5.
    assert error[9].max() < 2 * error[0].max() + 1e-4
    assert np.abs(grid.vectors(first) - np.stack(wanted)).max() < 4e-4
    # With the recovered points the scores themselves are the same bits.
    exact = grid.vectors(first) @ QUESTION
    np.testing.assert_array_equal(grid.vectors(points) @ QUESTION, exact)


def test_open_readers_go_on_in_the_new_epoch(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    loaded = collection.load()
    before = loaded.search(QUESTION, k=5)
    rotate(store, collection.name, owner_key)
    assert [hit.text for hit in loaded.search(QUESTION, k=5)] == [hit.text for hit in before]
    assert loaded.snapshot.epoch == 2
    # The collection object that was opened in the old epoch, too, for reading and for writing.
    assert [hit.text for hit in collection.search(QUESTION, k=5)] == [hit.text for hit in before]
    assert len(list(collection.documents())) == 6
    assert collection.put_documents([draft(collection, "later.txt")])[0].status == "added"
    assert collection.verify().ok
    assert collection.profile.epoch == 2
    assert loaded.search(QUESTION, k=1)[0].text == before[0].text


def test_a_writer_of_the_old_epoch_writes_into_the_new_one(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    waiting = draft(collection, "waiting.txt")
    rotate(store, collection.name, owner_key)
    assert collection.put_documents([waiting])[0].status == "added"
    assert collection.verify().documents == 7


def test_searches_during_rotations_never_fail(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    loaded = collection.load()
    wanted = [hit.text for hit in loaded.search(QUESTION, k=5)]
    stop, failures, counts = threading.Event(), [], [0, 0]

    def ask(at: int, search: Callable[[], list[str]]) -> None:
        while not stop.is_set():
            try:
                if search() != wanted:
                    failures.append("other hits")
            except Exception as error:  # noqa: BLE001 - any failure is what is looked for
                failures.append(f"{type(error).__name__}: {error}")
            counts[at] += 1

    with PostgresStore(postgres.user) as other:
        opened = Collection.open(other, collection.name, owner_key)
        threads = [
            threading.Thread(
                target=ask, args=(0, lambda: [h.text for h in loaded.search(QUESTION, 5)])
            ),
            threading.Thread(
                target=ask, args=(1, lambda: [h.text for h in opened.search(QUESTION, 5)])
            ),
        ]
        for thread in threads:
            thread.start()
        for _ in range(5):
            rotate(store, collection.name, owner_key)
        stop.set()
        for thread in threads:
            thread.join(60)
    assert failures == []
    assert min(counts) > 5
    assert loaded.snapshot.epoch in (5, 6)


def test_a_new_master_key_opens_it_and_the_old_one_is_refused_with_exit_12(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    loaded, before, new = collection.load(), content(collection), MasterKey.generate()
    rotate(store, collection.name, owner_key, new_master=new)
    with pytest.raises(IntegrityViolated, match="epoch 2 now") as refused:
        loaded.search(QUESTION)
    assert refused.value.exit_code == 12
    assert "start again with that key" in (refused.value.hint or "")
    with pytest.raises(IntegrityViolated):
        Collection.open(store, collection.name, owner_key)
    opened = Collection.open(store, collection.name, new)
    assert content(opened) == before
    assert opened.put_documents([draft(opened, "doc-1.txt")])[0].status == "unchanged"
    assert opened.load().search(QUESTION)


def begun(store: PostgresStore, name: str, key: MasterKey, rows: int = 6, **more: object) -> None:
    """A rotation that stops after the first batches."""

    class Stopped(Exception):
        pass

    def stop(done: int, _all: int) -> None:
        if done >= rows:
            raise Stopped

    with pytest.raises(Stopped):
        rotate(store, name, key, report=stop, **more)  # type: ignore[arg-type]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crag_core.collection.rotation.BATCH_ROWS", 3)


@pytest.mark.usefixtures("small_batches")
def test_writers_are_told_while_a_rotation_is_under_way(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    begun(store, collection.name, owner_key)
    with pytest.raises(Unreachable, match="being rotated") as refused:
        collection.put_documents([draft(collection, "new.txt")])
    assert refused.value.exit_code == 75
    with pytest.raises(Unreachable, match="being rotated"):
        collection.remove_documents([collection.document_id("doc-1.txt")])
    with pytest.raises(Unreachable, match="being rotated"):
        collection.record_fetch(50, measured_with=1.0)
    assert len(collection.search(QUESTION, k=18)) == 18
    assert collection.verify().ok


@pytest.mark.usefixtures("small_batches")
def test_an_interrupted_rotation_goes_on_where_it_was(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    before = content(collection)
    begun(store, collection.name, owner_key, rows=6)
    done = rotate(store, collection.name, owner_key)
    assert (done.resumed, done.copied) == (True, 12)
    opened = Collection.open(store, collection.name, owner_key)
    assert content(opened) == before
    assert opened.verify().ok


@pytest.mark.usefixtures("small_batches")
def test_a_rotation_is_given_up(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    before, number = collection.snapshot(), Tables.of(postgres, collection).number
    begun(store, collection.name, owner_key)
    assert abort(store, collection.name)
    assert not abort(store, collection.name)
    assert tables(postgres, number) == {f"rows_{number}_1", f"documents_{number}_1"}
    assert collection.snapshot() == before
    assert collection.put_documents([draft(collection, "new.txt")])[0].status == "added"


@pytest.mark.usefixtures("small_batches")
def test_other_parameters_than_begun_with_are_refused(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    begun(store, collection.name, owner_key, changes=Changes(approximation_factor=0.5))
    with pytest.raises(BadInput, match="another approximation factor"):
        rotate(store, collection.name, owner_key, changes=Changes(approximation_factor=2.0))
    with pytest.raises(BadInput, match="another new key"):
        rotate(store, collection.name, owner_key, new_master=MasterKey.generate())
    assert rotate(store, collection.name, owner_key).profile.approximation_factor == 0.5


@pytest.mark.usefixtures("small_batches")
def test_a_program_that_knows_no_rotation_makes_it_begin_anew(
    store: PostgresStore,
    collection: Collection,
    owner_key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun(store, collection.name, owner_key)
    with monkeypatch.context() as older:
        older.setattr("crag_core.collection.write.refuse_while_rotating", lambda *_: None)
        collection.put_documents([draft(collection, "doc-1.txt", version="2")])
    before = content(collection)
    done = rotate(store, collection.name, owner_key)
    assert (done.resumed, done.copied) == (False, 18)
    opened = Collection.open(store, collection.name, owner_key)
    assert content(opened) == before
    assert opened.verify().ok


@pytest.mark.usefixtures("small_batches")
def test_two_rotations_at_once_yield_one(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    before, outcomes = content(collection), []
    barrier = threading.Barrier(2)

    def run() -> None:
        with PostgresStore(postgres.user) as own:
            barrier.wait(30)
            try:
                outcomes.append(rotate(own, collection.name, owner_key))
            except Unreachable as told:
                outcomes.append(told)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(outcomes) == 2
    opened = Collection.open(store, collection.name, owner_key)
    if not any(isinstance(outcome, Rotated) for outcome in outcomes):
        rotate(store, collection.name, owner_key)
        opened = Collection.open(store, collection.name, owner_key)
    assert content(opened) == before
    assert opened.verify().ok


def test_a_changed_row_stops_the_rotation_and_is_named(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    tables_of = Tables.of(postgres, collection)
    ((row,),) = tables_of.sql(
        "UPDATE {rows} SET ct = set_byte(ct, 3, get_byte(ct, 3) # 1) WHERE id ="
        " (SELECT id FROM {rows} LIMIT 1) RETURNING id::text"
    )
    with pytest.raises(IntegrityViolated, match=str(row)):
        rotate(store, collection.name, owner_key)
    assert abort(store, collection.name)
    assert collection.profile.epoch == 1


def test_a_dropped_document_stops_the_rotation(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    Tables.of(postgres, collection).sql(
        "DELETE FROM {documents} WHERE id = (SELECT id FROM {documents} LIMIT 1)"
    )
    with pytest.raises(IntegrityViolated, match="not those of its snapshot"):
        rotate(store, collection.name, owner_key)


@pytest.mark.usefixtures("small_batches")
def test_a_record_put_back_costs_work_and_nothing_else(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    before = content(collection)
    begun(store, collection.name, owner_key, rows=3)
    number = Tables.of(postgres, collection).number
    kept = postgres.sql("SELECT * FROM crag.rotations WHERE collection_id = %s", number)[0]
    begun(store, collection.name, owner_key, rows=9)
    postgres.sql(
        "UPDATE crag.rotations SET profile = %s, nonce = %s, sealed = %s WHERE collection_id = %s",
        *kept[1:],
        number,
    )
    assert rotate(store, collection.name, owner_key).copied == 18
    opened = Collection.open(store, collection.name, owner_key)
    assert content(opened) == before
    assert opened.verify().ok


@pytest.mark.usefixtures("small_batches")
def test_the_next_profile_shown_too_early_is_refused(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    loaded = collection.load()
    begun(store, collection.name, owner_key)
    number = Tables.of(postgres, collection).number
    postgres.sql(
        "UPDATE crag.collections SET profile = r.profile, nonce = r.nonce, sealed = r.sealed"
        " FROM crag.rotations r WHERE r.collection_id = id AND id = %s",
        number,
    )
    assert len(loaded.search(QUESTION, k=18)) == 18  # the old snapshot and tables still fit
    with pytest.raises(IntegrityViolated):
        Collection.open(store, collection.name, owner_key).snapshot()


def test_the_old_epoch_put_back_is_a_rollback(
    postgres: Postgres, store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    number = Tables.of(postgres, collection).number
    loaded = collection.load()
    saved = postgres.sql(
        "SELECT profile, nonce, sealed FROM crag.collections WHERE id = %s", number
    )
    snapshot = postgres.sql("SELECT * FROM crag.snapshots WHERE collection_id = %s", number)
    for kind in ("rows", "documents"):
        postgres.sql(f"CREATE TABLE crag.kept_{kind} AS TABLE crag.{kind}_{number}_1")
    rotate(store, collection.name, owner_key)
    opened = Collection.open(store, collection.name, owner_key)
    anchor = Anchor.of(opened.snapshot())
    assert loaded.search(QUESTION)
    for kind in ("rows", "documents"):
        postgres.sql(f"ALTER TABLE crag.kept_{kind} RENAME TO {kind}_{number}_1")
        postgres.sql(f"GRANT ALL ON crag.{kind}_{number}_1 TO rag")
    postgres.sql(
        "UPDATE crag.collections SET profile = %s, nonce = %s, sealed = %s WHERE id = %s",
        *saved[0],
        number,
    )
    postgres.sql(
        "UPDATE crag.snapshots SET body = %s, signature = %s, state = %s WHERE collection_id = %s",
        *snapshot[0][1:],
        number,
    )
    for reader in (loaded, opened):
        with pytest.raises(IntegrityViolated):
            reader.search(QUESTION)
    report = Collection.open(store, collection.name, owner_key).verify(anchor)
    assert [violation.kind for violation in report.violations] == ["rolled_back"]
    assert "older than" in report.violations[0].detail
    # A service that starts now, with the anchor that the Trustee keeps.
    with pytest.raises(IntegrityViolated, match="older than"):
        Collection.open(store, collection.name, owner_key).load(anchor)


def test_an_earlier_collection_of_the_same_name_is_not_taken_for_a_later_epoch(
    store: PostgresStore, owner_key: MasterKey
) -> None:
    name = f"c-{secrets.token_hex(8)}"

    def made() -> Collection:
        return Collection.create(store, name, owner_key, dimension=24, embedder="test")

    first = made()
    rotate(store, name, owner_key)
    later = Anchor.of(Collection.open(store, name, owner_key).snapshot())
    first.drop()
    second = made()
    from crag_core.snapshot import Snapshot, rollback

    assert "replaced" in rollback(second.snapshot(), later)
    old_line = Snapshot(name, later.salt, 9, 5, 0, 0, later.root, "", "", later.origin)
    assert "replaced" in rollback(old_line, Anchor.of(second.snapshot()))
    assert rollback(old_line, later) == ""


def test_a_recorded_fetch_size_outlives_a_rotation_but_not_its_noise(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    other = Collection.open(store, collection.name, owner_key)
    collection.record_fetch(50, measured_with=1.0)
    rotate(store, collection.name, owner_key)
    # It was opened before that, and follows: another value is recorded in the new epoch.
    assert other.snapshot().epoch == 2
    other.record_fetch(60, measured_with=1.0)
    assert Collection.open(store, collection.name, owner_key).stats()["fetch"] == 60
    rotate(store, collection.name, owner_key, changes=Changes(approximation_factor=0.5))
    assert Collection.open(store, collection.name, owner_key).stats()["fetch"] is None
    # Measured before that rotation, and recorded after it.
    with pytest.raises(BadInput, match=r"factor 0\.5; what was measured with 1 "):
        other.record_fetch(70, measured_with=1.0)
    assert Collection.open(store, collection.name, owner_key).stats()["fetch"] is None


def test_an_empty_collection_is_rotated(store: PostgresStore, owner_key: MasterKey) -> None:
    empty = new_collection(store, owner_key)
    assert rotate(store, empty.name, owner_key).profile.epoch == 2
    assert empty.verify().ok
    assert empty.put_documents([draft(empty, "one.txt")])[0].status == "added"


def test_the_search_mode_is_converted_there_and_back(
    store: PostgresStore, collection: Collection, owner_key: MasterKey
) -> None:
    loaded, before = collection.load(), content(collection)
    wanted = [hit.text for hit in collection.search(QUESTION, k=18)]
    kept = []
    for mode in ("enclave", "enclave", "database", "enclave", "database"):
        done = rotate(store, collection.name, owner_key, changes=Changes(search_mode=mode))
        assert done.profile.search_mode == mode
        opened = Collection.open(store, collection.name, owner_key)
        assert content(opened) == before
        assert opened.verify().ok
        rows = stored_rows(store, opened)
        assert {bool(row.vector) for row in rows} == {mode == "database"}
        assert [hit.text for hit in opened.search(QUESTION, k=18)] == wanted
        # A service that has it loaded goes along.
        assert [hit.text for hit in loaded.search(QUESTION, k=18)] == wanted
        kept.append(row_points(opened._context, rows))
    # Once a vector was float16, nothing changes any more.
    for points in kept[1:]:
        np.testing.assert_array_equal(points, kept[0])
