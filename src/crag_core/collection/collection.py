"""One encrypted collection: what the owner writes and the enclave reads."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from crag_core.collection import profile as profiles
from crag_core.collection import relabel, removal, write
from crag_core.collection.context import Context
from crag_core.collection.documents import DocumentInfo, open_document
from crag_core.collection.drafts import DocumentDraft, LabelDraft, PutResult
from crag_core.collection.fetching import FETCH, checked_fetch, recorded
from crag_core.collection.following import moved, refuse_while_rotating, retried
from crag_core.collection.labels import label_tags
from crag_core.collection.load import LoadedCollection, Verified, verified
from crag_core.collection.memory import Memory
from crag_core.collection.profile import Profile, content_tag_key
from crag_core.collection.report import Verification
from crag_core.collection.rows import RowContent, open_row, row_digest, row_name
from crag_core.collection.search import Hit, Question, find
from crag_core.collection.verified_rows import TEXT_BYTES
from crag_core.collection.verify import examine
from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import CollectionKeys, MasterKey
from crag_core.snapshot import Anchor, Snapshot
from crag_core.store.interface import Reader, Store, StoredRow
from crag_core.tags import content_tag

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crag_core.vectors import VectorCipher

INDEX_ROWS = 10_000


class Collection:
    """An open collection. Every method checks the snapshot's signature, and that it is not older
    than one that this object has seen.
    """

    def __init__(self, store: Store, context: Context, private: Mapping[str, Any]) -> None:
        self._store = store
        self._context = context
        self.private = dict(private)
        self._held: Verified | None = None
        self._memory_guard = threading.Lock()

    @staticmethod
    def exists(store: Store, name: str) -> bool:
        """Whether there is a collection of that name.

        Raises:
            BadInput: it cannot be the name of one.
        """
        profiles.check_name(name)
        with store.reader() as reader:
            return reader.collection(name) is not None

    @classmethod
    def create(
        cls,
        store: Store,
        name: str,
        master: MasterKey,
        *,
        dimension: int,
        embedder: str,
        search_mode: str = "database",
        scaling_factor: float = 1.0,
        approximation_factor: float = 1.0,
        private: Mapping[str, Any] | None = None,
    ) -> Collection:
        """A new, empty collection with a random salt.

        Args:
            dimension: of the embedder's vectors.
            embedder: its name; sealed.
            private: what else to seal into the profile, as JSON.

        Raises:
            BadInput: the name or a parameter cannot be used.
            CragError: code ``collection-exists``.
        """
        profile, keys = profiles.make(
            profiles.check_name(name),
            master,
            salt=os.urandom(profiles.SALT_BYTES),
            dimension=dimension,
            search_mode=search_mode,
            scaling_factor=scaling_factor,
            approximation_factor=approximation_factor,
        )
        context = Context(0, name, profile, keys)
        # Made now so that a parameter out of range is refused before anything is written.
        _ = context.cipher
        sealed_private = {**(private or {}), "embedder": embedder}
        sealed = profiles.seal_private(profile, keys, sealed_private)
        first, stored_snapshot = write.first_snapshot(context)
        stored = store.create_collection(
            name=name,
            profile=sealed.text,
            nonce=sealed.nonce,
            sealed=sealed.sealed,
            epoch=profile.epoch,
            dimension=profile.dimension,
            snapshot=stored_snapshot,
        )
        context.identity = stored.id
        context.fetch = recorded(sealed_private)
        context.note(first)
        return cls(store, context, sealed_private)

    @classmethod
    def open(
        cls, store: Store, name: str, master: MasterKey, *, check_value: str | None = None
    ) -> Collection:
        """An existing collection.

        Args:
            check_value: a pinned check value, of the master key or of the collection.

        Raises:
            BadInput: there is no collection of that name.
            IntegrityViolated: the key is not the collection's or the pinned one, or the profile or
                the snapshot was changed.
            NotSupported: a format of another version.
        """
        profiles.check_name(name)
        with store.reader() as reader:
            stored = reader.collection(name)
        if stored is None:
            raise BadInput(
                f"There is no collection {name} in this database.",
                hint="Ingest documents first, or check --collection and the database.",
                code="no-collection",
            )
        profile, keys, private = profiles.open_profile(stored, master, check_value)
        context = Context(stored.id, name, profile, keys, fetch=recorded(private))
        return cls(store, context, private)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._context.name

    @property
    def profile(self) -> Profile:
        """The public parameters."""
        return self._context.profile

    @property
    def keys(self) -> CollectionKeys:
        """The keys of the collection."""
        return self._context.keys

    @property
    def cipher(self) -> VectorCipher:
        """The vector cipher of the collection."""
        return self._context.cipher

    def snapshot(self) -> Snapshot:
        """The current snapshot, its signature checked.

        Raises:
            IntegrityViolated: it was changed, is missing, or was rolled back.
        """
        with self._reading() as (_, snapshot):
            return snapshot

    def content_tag(self, data: bytes) -> bytes:
        """32 bytes that recognise ``data`` again under this collection's key, in every epoch."""
        return content_tag(content_tag_key(self.keys, self.private), data)

    def document_id(self, source: str) -> bytes:
        """The 16 bytes of the id that the document of that source has or would have."""
        return self._context.document_id(source)

    def find(self, source: str) -> DocumentInfo | None:
        """The document of that source, or None.

        Raises:
            IntegrityViolated: its description was changed.
        """
        return self.find_many([source]).get(source)

    def find_many(self, sources: Sequence[str]) -> dict[str, DocumentInfo]:
        """Those of the documents that are there, by source.

        Raises:
            IntegrityViolated: a description was changed.
        """
        with self._reading() as (reader, _):
            wanted = [self.document_id(source) for source in sources]
            found = reader.documents_by_id(self._context.generation, wanted)
            opened = [open_document(self._context, each) for each in found]
        return {document.source: document for document in opened}

    def documents(self) -> Iterator[DocumentInfo]:
        """All documents, in no particular order.

        Raises:
            IntegrityViolated: one was changed, or there are more or fewer than the snapshot says.
        """
        count = 0
        with self._reading() as (reader, snapshot):
            for batch in reader.documents(self._context.generation):
                count += len(batch)
                for document in batch:
                    yield open_document(self._context, document)
        if count != snapshot.documents:
            kind = "missing" if count < snapshot.documents else "added"
            raise IntegrityViolated(
                f"The collection {self.name} has {count} documents in the database; "
                f"its snapshot says {snapshot.documents}.",
                hint="Run `crag-owner verify` to see what was changed.",
                details={"collection": self.name, "violation": kind},
            )

    def chunks_of(self, document: DocumentInfo) -> list[RowContent]:
        """The opened rows of a document, in reading order.

        Raises:
            BadInput: its date is past.
            IntegrityViolated: a row is missing or was changed; the message names it.
        """
        if document.expired():
            raise BadInput(
                f"The document {document.id} of {self.name} expired.",
                hint="`crag-owner purge` removes it.",
                code="expired",
            )
        return self.chunks_of_many([document])[document.id]

    def chunks_of_many(self, documents: Sequence[DocumentInfo]) -> dict[str, list[RowContent]]:
        """The opened rows of each document whose date is not past, by the document's id.

        Raises:
            IntegrityViolated: a row is missing or was changed; the message names it.
        """
        live = [document for document in documents if not document.expired()]
        wanted = [identity for document in live for identity, _ in document.members]
        with self._reading() as (reader, _):
            found = reader.rows_by_id(self._context.generation, wanted)
        rows = {row.id: row for row in found}
        return {
            document.id: [self._chunk(rows, *member) for member in document.members]
            for document in live
        }

    def rows_of(self, document: bytes | str) -> list[RowContent]:
        """As :meth:`chunks_of`, by the document's id (16 bytes or a UUID as text).

        Raises:
            BadInput: there is no such document.
        """
        key = _identity(document)
        with self._reading() as (reader, _):
            found = reader.documents_by_id(self._context.generation, [key])
        if not found:
            raise BadInput(
                f"There is no document {row_name(key)} in {self.name}.",
                hint="`crag-owner list` shows the documents.",
            )
        return self.chunks_of(open_document(self._context, found[0]))

    def put_documents(self, drafts: Sequence[DocumentDraft]) -> list[PutResult]:
        """Add, replace or leave alone each document, in one transaction.

        Raises:
            BadInput: two drafts with one source, or a draft that cannot be stored.
            IntegrityViolated: what is in the database was changed; nothing is written.
            Unreachable: the database does not answer, or another writer holds the collection.
        """
        return retried(lambda: write.put(self._context, self._store, drafts), self._follow)

    def relabel(self, drafts: Sequence[LabelDraft]) -> list[PutResult]:
        """Give documents other labels or another date in one transaction, without their content.

        Neither texts nor vectors are needed: rows are sealed anew around the vectors as they are
        stored. A document that is gone or has another content tag is left alone, with the status
        ``stale``.

        Raises:
            BadInput: two drafts with one source, or a label that is no text.
            IntegrityViolated: what is in the database was changed; nothing is written.
            Unreachable: the database does not answer, or another writer holds the collection.
        """
        return retried(lambda: relabel.relabel(self._context, self._store, drafts), self._follow)

    def remove_documents(self, ids: Iterable[bytes | str]) -> int:
        """Remove documents (16 bytes or UUIDs as text) with their rows; how many rows.

        Raises:
            BadInput: one of them is not there; nothing is removed.
            IntegrityViolated: what is in the database was changed; nothing is written.
            Unreachable: the database does not answer, or another writer holds the collection.
        """
        keys = [_identity(each) for each in ids]
        return retried(lambda: removal.remove(self._context, self._store, keys), self._follow)

    def purge(self, now: int | None = None) -> tuple[int, int]:
        """Remove the documents whose date is past; how many, and how many rows.

        Args:
            now: seconds since 1970 UTC; this moment if None.

        Raises:
            IntegrityViolated: what is in the database was changed; nothing is written.
            Unreachable: the database does not answer, or another writer holds the collection.
        """
        moment = int(time.time()) if now is None else now
        return retried(lambda: removal.purge(self._context, self._store, moment), self._follow)

    def search(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        fetch: int | None = None,
        filter: Mapping[str, str] | None = None,
    ) -> list[Hit]:
        """The ``k`` nearest rows, best first.

        In mode ``enclave`` the whole collection is read, verified and kept in memory at the first
        search and after every change; a service uses :meth:`load`, which makes an index as well.

        Args:
            vector: the question's, float32[d] of unit norm.
            k: 1 to 1000.
            fetch: how many rows the database returns to be ranked again; by default what the owner
                recorded, else 20 for each hit, within 100 and 1000. Without effect in mode
                ``enclave``.
            filter: labels that the document of each hit has, all of them.

        Raises:
            IntegrityViolated: a returned row (in mode ``enclave``: any row) was changed; the
                message names it.
            Unreachable: the database does not answer.
            BadInput: the vector is not one of the collection, or k or fetch is out of range.
        """
        return retried(lambda: self._search(vector, k, fetch, filter or {}), self._follow)

    def verify(
        self, anchor: Anchor | None = None, progress: Callable[[int], None] | None = None
    ) -> Verification:
        """Read everything once and compare it with the signed snapshot.

        Args:
            anchor: the newest snapshot seen elsewhere.
            progress: called with the number of rows read so far.

        Raises:
            Unreachable: the database does not answer.
        """
        self._follow()
        return examine(self._context, self._store, anchor, progress).verification

    def load(
        self, anchor: Anchor | None = None, *, text_bytes: int = TEXT_BYTES
    ) -> LoadedCollection:
        """The collection for a service: verified as a whole, and again whenever it has grown.

        Args:
            text_bytes: sealed texts held in memory in mode ``database``; those of a larger
                collection are fetched for each search.

        Raises:
            IntegrityViolated: it does not verify; the message names the first violation.
            Unreachable: the database does not answer.
        """
        self._follow()
        return LoadedCollection(self._context, self._store, anchor, text_bytes)

    def ensure_index(self) -> bool:
        """Make the indexes once there are over 10 000 rows; whether now.

        Of vectors and of tags; in mode ``enclave`` none, because the database compares nothing.
        """
        if self._context.in_enclave:
            return False
        if self.snapshot().rows <= INDEX_ROWS:
            return False
        return self._store.index(self._context.generation)

    def record_fetch(self, fetch: int, *, measured_with: float) -> None:
        """Record how many rows to fetch for ten hits, for all who open the collection from now on.

        Args:
            measured_with: the approximation factor at which they are enough.

        Raises:
            BadInput: it is not between 10 and 1000, or the collection has another factor, perhaps
                since a moment ago.
            IntegrityViolated: the snapshot or the profile was changed.
            Unreachable: the database does not answer, or the collection is being rotated.
        """
        checked_fetch(fetch)
        retried(lambda: self._record(FETCH, fetch, measured_with), self._follow)
        self._context.fetch = fetch

    def drop(self) -> None:
        """Remove the collection with everything in it."""
        self._store.drop_collection(self._context.identity)

    def stats(self) -> dict[str, Any]:
        """Numbers and parameters, as JSON."""
        with self._reading() as (reader, snapshot):
            sizes = reader.sizes(self._context.generation)
        profile = self.profile
        return {
            "collection": self.name,
            "documents": snapshot.documents,
            "rows": snapshot.rows,
            "snapshot": snapshot.id,
            "sequence": snapshot.sequence,
            "epoch": snapshot.epoch,
            "updated": snapshot.created,
            "search_mode": profile.search_mode,
            "dimension": profile.dimension,
            "scaling_factor": profile.scaling_factor,
            "approximation_factor": profile.approximation_factor,
            "embedder": self.private.get("embedder"),
            "chunking": self.private.get("chunking"),
            "fetch": self._context.fetch,
            "check_value": profile.check_value,
            "bytes": sizes.bytes,
            "indexed": sizes.indexed,
        }

    def _search(
        self,
        vector: NDArray[np.float32],
        k: int,
        fetch: int | None,
        labels: Mapping[str, str],
    ) -> list[Hit]:
        context = self._context
        floor = context.seen
        tags = label_tags(context, labels)
        if context.in_enclave:
            with self._store.lookup() as lookup:
                snapshot = context.current(lookup.snapshot(context.identity), floor)
            return self._memory(context, snapshot).find(vector, k=k, fetch=fetch, tags=tags)
        question = Question.of(context, vector, k, fetch, tags)
        with self._store.lookup() as lookup:
            seen = lookup.nearest(context.generation, *question.asked)
        context.current(seen.snapshot, floor)
        return find(context, question, seen.rows)

    def _record(self, member: str, value: int, factor: float) -> None:
        """Put a member that holds for one approximation factor into the private profile."""
        context = self._context
        if context.profile.approximation_factor != factor:
            raise BadInput(
                f"The collection {self.name} has approximation factor "
                f"{context.profile.approximation_factor:g}; what was measured with {factor:g} does "
                "not hold for it.",
                hint="Measure again with `crag-owner calibrate --record`.",
            )
        with self._store.writer() as writer:
            context.current(writer.lock(context.identity), context.seen)
            refuse_while_rotating(context, writer)
            stored = writer.collection(self.name)
            if stored is None:
                raise BadInput(f"There is no collection {self.name} any more.")
            private = {**profiles.open_with_keys(stored, context.keys), member: value}
            sealed = profiles.seal_private(context.profile, context.keys, private)
            writer.put_private(context.identity, sealed.nonce, sealed.sealed)
        self.private = private

    def _memory(self, context: Context, snapshot: Snapshot) -> Memory:
        """The rows of ``snapshot`` or a newer one."""
        with self._memory_guard:
            held = self._held
            if held is None or held.context is not context or held.snapshot != snapshot:
                held = verified(context, self._store, None, held, indexed=False)
                self._held = held
            if held.memory is None:
                raise TypeError("a collection of mode enclave is verified into memory")
            return held.memory

    def _reading(self) -> _Reading:
        return _Reading(self, self._store)

    def _follow(self) -> bool:
        """Go on in the epoch that the collection was rotated to; whether it was."""
        found = moved(self._context, self._store)
        if found is not None:
            self._context, self.private = found.context, found.private
        return found is not None

    def _chunk(self, rows: Mapping[bytes, StoredRow], identity: bytes, digest: bytes) -> RowContent:
        row = rows.get(identity)
        if row is not None and row_digest(row) == digest:
            return open_row(self._context, row)
        name = row_name(identity)
        what, kind = ("is missing", "missing") if row is None else ("was changed", "tampered")
        raise IntegrityViolated(
            f"The row {name} of the collection {self.name} {what} in the database.",
            hint="Run `crag-owner verify` to see everything that was changed.",
            details={"collection": self.name, "row": name, "violation": kind},
        )


def _identity(given: bytes | str) -> bytes:
    try:
        return given if isinstance(given, bytes) else uuid.UUID(given).bytes
    except ValueError:
        raise BadInput(
            f"{given!a} is no id of a document.", hint="`crag-owner list` shows the ids."
        ) from None


class _Reading:
    """A consistent view of the database, with its snapshot checked."""

    def __init__(self, collection: Collection, store: Store) -> None:
        self._collection = collection
        self._store = store
        self._manager = store.reader()

    def __enter__(self) -> tuple[Reader, Snapshot]:
        return retried(self._entered, self._collection._follow)

    def _entered(self) -> tuple[Reader, Snapshot]:
        context = self._collection._context
        floor = context.seen
        self._manager = self._store.reader()
        reader = self._manager.__enter__()
        try:
            stored = reader.snapshot(context.identity)
            return reader, context.current(stored, floor)
        except BaseException as error:
            self._manager.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(self, *exc: Any) -> None:
        self._manager.__exit__(*exc)
