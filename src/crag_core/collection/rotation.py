"""Rotate a collection to a new epoch: new salt, so new keys, and every row written anew.

The new rows go into tables of their own, batch by batch, while readers go on with the old ones; no
document can be added or removed meanwhile. One transaction then switches profile and snapshot, and
afterwards the old tables go. Killed at any point, the same call goes on where it was.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter

from crag_core.collection.context import Context
from crag_core.collection.documents import document_digest, document_element, open_document
from crag_core.collection.fetching import FETCH
from crag_core.collection.profile import (
    CONTENT_TAG_KEY,
    SALT_BYTES,
    SEARCH_MODES,
    Profile,
    content_tag_key,
    open_profile,
    open_with_keys,
    seal_private,
)
from crag_core.collection.rotation_record import Progress, next_profile, open_record, seal_record
from crag_core.collection.rows import row_element
from crag_core.collection.translation import Translated, translate
from crag_core.errors import BadInput, IntegrityViolated, Unreachable
from crag_core.keys import CollectionKeys, MasterKey
from crag_core.snapshot import Snapshot
from crag_core.store.interface import (
    Generation,
    Retired,
    Store,
    StoredCollection,
    StoredRotation,
    StoredSnapshot,
    Writer,
)
from crag_core.store.new_rows import NewRows

BATCH_ROWS = 2000
INDEX_ROWS = 10_000
GO_ON = "Run the same `crag-owner rotate` again, or give it up with `crag-owner rotate --abort`."
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Changes:
    """What shall be different in the next epoch, besides the salt; None leaves it as it is."""

    search_mode: str | None = None
    scaling_factor: float | None = None
    approximation_factor: float | None = None

    def given(self) -> dict[str, object]:
        """What is to be changed, by the profile's names."""
        named = {
            "search_mode": self.search_mode,
            "scaling_factor": None if self.scaling_factor is None else float(self.scaling_factor),
            "approximation_factor": None
            if self.approximation_factor is None
            else float(self.approximation_factor),
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Rotated:
    """A finished rotation; ``copied`` rows were written by this call, the rest by earlier ones."""

    profile: Profile
    snapshot: Snapshot
    copied: int
    resumed: bool
    cleared: Retired


def rotate(
    store: Store,
    name: str,
    master: MasterKey,
    *,
    new_master: MasterKey | None = None,
    changes: Changes | None = None,
    report: Report | None = None,
) -> Rotated:
    """Rotate a collection to its next epoch, or go on with a rotation that was interrupted.

    Args:
        master: the key that opens the collection now.
        new_master: the key that shall open it afterwards; the same by default.
        report: called with the rows written so far and how many there are.

    Raises:
        BadInput: no such collection, a parameter that cannot be used, or a rotation with other
            parameters was begun before.
        IntegrityViolated: the key is not the collection's, or something in the database was
            changed; the collection stays in its epoch.
        Unreachable: the database does not answer, or another rotation is at work.
    """
    new_master, changes = new_master or master, changes or Changes()
    stored, record = _stored(store, name)
    if record is not None and record.profile == stored.profile:
        return _finish(store, _opened(stored, new_master), 0, resumed=True)
    old = _opened(stored, master)
    run = _Run(store, old, report or (lambda _done, _all: None))
    resumed = record is not None and run.resume(record, new_master, changes)
    if not resumed:
        run.begin(new_master, changes)
    copied = run.copy()
    run.switch()
    return _finish(store, run.new, copied, resumed=resumed)


def abort(store: Store, name: str) -> bool:
    """Give up a rotation that has not switched yet; whether there was one. No key is needed.

    Raises:
        BadInput: no such collection, or it switched already.
    """
    stored, record = _stored(store, name)
    if record is None:
        return False
    if record.profile == stored.profile:
        raise BadInput(
            f"The collection {name} is in its new epoch already; only the old tables are left.",
            hint="Run `crag-owner rotate` once more to remove them.",
        )
    profile = Profile.parse(name, stored.profile)
    with store.writer() as writer:
        writer.lock(stored.id)
        if writer.rotation(stored.id) is None:
            return False
        writer.abandon_rotation(Generation(stored.id, profile.epoch + 1, profile.dimension))
    return True


class _Run:
    """One rotation from the first batch to the switch."""

    new: Context
    progress: Progress
    record: StoredRotation

    def __init__(self, store: Store, old: Context, report: Report) -> None:
        self.store = store
        self.old = old
        self.report = report
        with store.reader() as reader:
            self.base = old.current(reader.snapshot(old.identity), None)

    def begin(self, master: MasterKey, changes: Changes) -> None:
        """Make the new tables and the record."""
        keys = CollectionKeys(master, self.old.name, os.urandom(SALT_BYTES))
        profile = next_profile(self.old.profile, keys, changes.given())
        self.new = _checked(Context(self.old.identity, self.old.name, profile, keys))
        with self.store.writer() as writer:
            self.base = self.old.current(writer.lock(self.old.identity), None)
            stored = writer.collection(self.old.name)
            if stored is None or stored.profile != self.old.profile.text():
                raise _overtaken(self.old.name)
            private = _private(stored, self.old, self.new)
            self.progress = Progress.start(self.new, self.base, private)
            self.record = seal_record(self.new, self.progress)
            writer.begin_rotation(self.new.generation, self.record)

    def resume(self, record: StoredRotation, master: MasterKey, changes: Changes) -> bool:
        """Take up a rotation that was begun; False where it can only be begun anew.

        Raises:
            BadInput: it was begun with another new key or other parameters.
        """
        profile = Profile.parse(self.old.name, record.profile)
        keys = CollectionKeys(master, self.old.name, bytes.fromhex(profile.salt))
        expected = next_profile(self.old.profile, keys, changes.given())
        differs = [
            key for key in changes.given() if getattr(profile, key) != getattr(expected, key)
        ]
        if differs or not keys.matches(profile.check_value):
            raise BadInput(
                f"A rotation of {self.old.name} was begun with "
                f"{'another ' + differs[0].replace('_', ' ') if differs else 'another new key'}.",
                hint=GO_ON,
                code="rotating",
            )
        self.progress = open_record(self.old.name, record, keys)
        self.new = _checked(Context(self.old.identity, self.old.name, profile, keys))
        self.record = record
        return self.progress.base == self.base.digest and self._copied_as_recorded()

    def _copied_as_recorded(self) -> bool:
        with self.store.reader() as reader:
            sizes = reader.sizes(self.new.generation)
        return (sizes.documents, sizes.rows) == (self.progress.documents, self.progress.rows)

    def copy(self) -> int:
        """Write every document that is not there yet; how many rows that were."""
        total = self.new.set_from(self.progress.state)
        done = self.progress.rows
        self.report(done, self.base.rows)
        for batch in self._batches():
            made = self._translated(batch)
            rows = [row for each in made for row in each.rows]
            documents = [each.document for each in made]
            total.add(row_element(*member) for each in made for member in each.members)
            total.add(document_element(each.id, document_digest(each)) for each in documents)
            progress = self.progress.plus(total, len(documents), len(rows))
            record = seal_record(self.new, progress)
            # In the order of the new ids: the order on disk must not show which rows belong
            # together, nor which they were.
            rows.sort(key=attrgetter("id"))
            with self.store.writer() as writer:
                self._hold(writer)
                writer.insert_rows(self.new.generation, [NewRows.of(rows)])
                writer.insert_documents(self.new.generation, documents)
                writer.put_rotation(self.old.identity, record)
            self.progress, self.record = progress, record
            self.report(progress.rows, self.base.rows)
        return self.progress.rows - done

    def switch(self) -> None:
        """Make the new epoch the collection's, in one transaction."""
        found = (self.progress.documents, self.progress.rows)
        if found != (self.base.documents, self.base.rows):
            raise _changed(self.old.name, "the new tables do not hold what was written")
        if self.base.rows > INDEX_ROWS and not self.new.in_enclave:
            # Before the switch, so that no search is slow for want of it.
            self.store.index(self.new.generation)
        total = self.new.set_from(self.progress.state)
        made = self.base.rotated(salt=self.new.profile.salt, root=total.digest())
        sealed = seal_private(self.new.profile, self.new.keys, self.progress.private)
        signature = self.new.signer.sign(made)
        with self.store.writer() as writer:
            self._hold(writer)
            writer.switch(
                self.old.identity,
                profile=sealed.text,
                nonce=sealed.nonce,
                sealed=sealed.sealed,
                snapshot=StoredSnapshot(made.body(), signature, total.state()),
            )
        self.new.note(made)

    def _hold(self, writer: Writer) -> None:
        """Lock the collection, and see that nothing but this rotation has touched it."""
        current = self.old.current(writer.lock(self.old.identity), None)
        if current != self.base or writer.rotation(self.old.identity) != self.record:
            raise _overtaken(self.old.name)

    def _batches(self) -> Iterator[list[bytes]]:
        """Ids of the documents that are not copied yet, in batches of about 2000 rows."""
        waiting = self._waiting()
        secrets.SystemRandom().shuffle(waiting)
        batch: list[bytes] = []
        rows = 0
        for identity, chunks in waiting:
            batch.append(identity)
            rows += chunks
            if rows >= BATCH_ROWS:
                yield batch
                batch, rows = [], 0
        if batch:
            yield batch

    def _waiting(self) -> list[tuple[bytes, int]]:
        """Id and number of rows of each document that is to be copied, once all are known to be
        those of the snapshot.
        """
        total = self.old.empty_set()
        wanted: dict[bytes, tuple[bytes, int]] = {}
        with self.store.reader() as reader:
            for batch in reader.documents(self.old.generation):
                elements: list[bytes] = []
                for document in batch:
                    info = open_document(self.old, document)
                    elements.append(document_element(document.id, document_digest(document)))
                    elements.extend(row_element(*member) for member in info.members)
                    wanted[self.new.document_id(info.source)] = (document.id, info.chunks)
                total.add(elements)
            if total.digest().hex() != self.base.root:
                raise _changed(self.old.name, "its documents are not those of its snapshot")
            for batch in reader.documents(self.new.generation):
                for document in batch:
                    wanted.pop(document.id, None)
        return list(wanted.values())

    def _translated(self, ids: Sequence[bytes]) -> list[Translated]:
        with self.store.reader() as reader:
            documents = reader.documents_by_id(self.old.generation, ids)
            infos = [open_document(self.old, each) for each in documents]
            wanted = [identity for info in infos for identity, _ in info.members]
            rows = {row.id: row for row in reader.rows_by_id(self.old.generation, wanted)}
        return [translate(self.old, self.new, info, rows) for info in infos]


def _stored(store: Store, name: str) -> tuple[StoredCollection, StoredRotation | None]:
    with store.reader() as reader:
        stored = reader.collection(name)
        if stored is None:
            raise BadInput(
                f"There is no collection {name} in this database.",
                hint="Check --collection and the database.",
                code="no-collection",
            )
        return stored, reader.rotation(stored.id)


def _opened(stored: StoredCollection, master: MasterKey) -> Context:
    profile, keys, _ = open_profile(stored, master, None)
    return Context(stored.id, stored.name, profile, keys)


def _checked(new: Context) -> Context:
    """The context itself; parameters out of range are refused before anything is written."""
    mode = new.profile.search_mode
    if mode not in SEARCH_MODES:
        raise BadInput(f"{mode!r} is no search mode.", hint=f"Choose {' or '.join(SEARCH_MODES)}.")
    _ = new.cipher
    return new


def _private(stored: StoredCollection, old: Context, new: Context) -> Mapping[str, object]:
    private = open_with_keys(stored, old.keys)
    if old.profile.approximation_factor != new.profile.approximation_factor:
        # It was measured with the old noise.
        private.pop(FETCH, None)
    return {**private, CONTENT_TAG_KEY: content_tag_key(old.keys, private).hex()}


def _finish(store: Store, new: Context, copied: int, *, resumed: bool) -> Rotated:
    with store.reader() as reader:
        snapshot = new.current(reader.snapshot(new.identity), None)
    cleared = store.retire(new.generation)
    return Rotated(new.profile, snapshot, copied, resumed, cleared)


def _overtaken(name: str) -> Unreachable:
    return Unreachable(
        f"The collection {name} was changed while it was being rotated, or another rotation is at "
        "work.",
        hint=f"Wait until the other program is done. {GO_ON}",
        code="rotating",
    )


def _changed(name: str, what: str) -> IntegrityViolated:
    return IntegrityViolated(
        f"The collection {name} cannot be rotated: {what}.",
        hint="It stays in its epoch. Run `crag-owner verify` to see what was changed, and give the "
        "rotation up with `crag-owner rotate --abort`.",
        details={"collection": name, "violation": "tampered"},
    )
