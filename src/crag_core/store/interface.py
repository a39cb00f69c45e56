"""What crag asks of a database: ciphertext rows in, ciphertext rows out, in transactions.

An adapter keeps bytes. It has no key, opens nothing, and is not trusted: whoever reads through this
interface checks what comes back. Every method may raise

    Unreachable           no answer within the time of the settings; nothing was committed
    IntegrityViolated     the tables are not the ones that crag made
    CragError             the database refuses (permission, full disk); the message says which
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from crag_core.store.new_rows import NewRows

MAX_NEAREST = 1000


class StoredRow(NamedTuple):
    """One row as it lies in the database; a changed row differs in at least one field.

    ``id`` 16 bytes; ``iv`` 12 bytes; ``vector`` float16 values, big-endian; both empty where the
    vector is sealed with the text; ``expires`` seconds since 1970 UTC or None.
    """

    id: bytes
    version: int
    epoch: int
    iv: bytes
    vector: bytes
    nonce: bytes
    ciphertext: bytes
    tags: tuple[bytes, ...]
    expires: int | None


class StoredDocument(NamedTuple):
    """A document's sealed description; ``id`` 16 bytes."""

    id: bytes
    version: int
    epoch: int
    nonce: bytes
    ciphertext: bytes


@dataclass(frozen=True)
class StoredSnapshot:
    """The one current snapshot of a collection: signed body and the set hash's state."""

    body: str
    signature: bytes
    state: bytes


class SeenRows(NamedTuple):
    """Rows, and the snapshot of the same moment; None where its record is gone."""

    snapshot: StoredSnapshot | None
    rows: list[StoredRow]


class SeenIds(NamedTuple):
    """Ids of rows, one behind the other, and the snapshot of the same moment; None where its record
    is gone.
    """

    snapshot: StoredSnapshot | None
    joined: bytes


class StoredText(NamedTuple):
    """Id (16 bytes) and sealed text of a row."""

    id: bytes
    nonce: bytes
    ciphertext: bytes


class SeenTexts(NamedTuple):
    """Sealed texts, and the snapshot of the same moment; None where its record is gone."""

    snapshot: StoredSnapshot | None
    texts: list[StoredText]


@dataclass(frozen=True)
class StoredCollection:
    """A collection's public profile (JSON text) and its sealed private one."""

    id: int
    name: str
    profile: str
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True)
class Generation:
    """The tables of one collection in one key epoch; ``dimension`` of its stored vectors."""

    collection: int
    epoch: int
    dimension: int


@dataclass(frozen=True)
class StoredRotation:
    """The record of a rotation: the next epoch's public profile, and its sealed progress."""

    profile: str
    nonce: bytes
    sealed: bytes


@dataclass(frozen=True)
class Retired:
    """What was cleared after a rotation: superseded records rewritten, a checkpoint made."""

    rewritten: bool
    checkpoint: bool


@dataclass(frozen=True)
class TableSizes:
    """What the database itself counts; a hint, because it is not trusted."""

    rows: int
    documents: int
    bytes: int
    indexed: bool


class Reader(Protocol):
    """One consistent view of the database, as of the first read."""

    def collection(self, name: str) -> StoredCollection | None:
        """The collection of that name, or None."""
        ...

    def snapshot(self, collection: int) -> StoredSnapshot | None:
        """The collection's snapshot, or None where its record is gone."""
        ...

    def rows(self, generation: Generation) -> Iterator[list[StoredRow]]:
        """All rows in no particular order, in batches."""
        ...

    def rows_by_id(self, generation: Generation, ids: Sequence[bytes]) -> list[StoredRow]:
        """Those of the rows that exist, in no particular order."""
        ...

    def documents(self, generation: Generation) -> Iterator[list[StoredDocument]]:
        """All documents in no particular order, in batches."""
        ...

    def documents_by_id(self, generation: Generation, ids: Sequence[bytes]) -> list[StoredDocument]:
        """Those of the documents that exist, in no particular order."""
        ...

    def expired(self, generation: Generation, now: int) -> Iterator[list[StoredRow]]:
        """The rows that expired at ``now`` or before, in batches."""
        ...

    def sizes(self, generation: Generation) -> TableSizes:
        """What the database counts."""
        ...

    def rotation(self, collection: int) -> StoredRotation | None:
        """The record of a rotation that was begun and not finished, or None."""
        ...


class Lookup(Protocol):
    """Single questions of a search; each answer is of one moment."""

    def snapshot(self, collection: int) -> StoredSnapshot | None:
        """The collection's snapshot, or None where its record is gone."""
        ...

    def nearest(
        self,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes] = (),
    ) -> SeenRows:
        """The snapshot, and up to ``limit`` (at most 1000) rows unexpired at ``now`` near ``query``
        (float32[d], L2) that have all ``tags``.
        """
        ...

    def nearest_texts(
        self,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes] = (),
    ) -> SeenTexts:
        """As :meth:`nearest`, of each row no more than its id and its sealed text."""
        ...

    def nearest_ids(
        self,
        generation: Generation,
        query: NDArray[np.float32],
        limit: int,
        now: int,
        tags: Sequence[bytes] = (),
    ) -> SeenIds:
        """As :meth:`nearest`, of each row no more than its id."""
        ...


class Writer(Reader, Protocol):
    """A transaction that changes one collection; all or nothing."""

    def lock(self, collection: int) -> StoredSnapshot | None:
        """The snapshot, held against every other writer until the transaction ends."""
        ...

    def insert_rows(self, generation: Generation, parts: Iterable[NewRows]) -> None:
        """Add rows whose ids are not there yet, part by part as they come.

        What is raised in making a part is raised here; the transaction must then end.
        """
        ...

    def delete_rows(self, generation: Generation, ids: Sequence[bytes]) -> int:
        """Remove rows; how many there were."""
        ...

    def insert_documents(self, generation: Generation, documents: Sequence[StoredDocument]) -> None:
        """Add documents whose ids are not there yet."""
        ...

    def delete_documents(self, generation: Generation, ids: Sequence[bytes]) -> int:
        """Remove documents; how many there were."""
        ...

    def put_snapshot(self, collection: int, snapshot: StoredSnapshot) -> None:
        """Replace the snapshot."""
        ...

    def put_private(self, collection: int, nonce: bytes, sealed: bytes) -> None:
        """Replace the sealed half of the collection's profile."""
        ...

    def begin_rotation(self, generation: Generation, record: StoredRotation) -> None:
        """Make the tables of the next generation, empty, and put the rotation's record."""
        ...

    def put_rotation(self, collection: int, record: StoredRotation) -> None:
        """Replace the rotation's record."""
        ...

    def abandon_rotation(self, generation: Generation) -> None:
        """Drop the tables of a generation that was never switched to, and the record."""
        ...

    def switch(
        self,
        collection: int,
        *,
        profile: str,
        nonce: bytes,
        sealed: bytes,
        snapshot: StoredSnapshot,
    ) -> None:
        """Make another profile and snapshot the collection's."""
        ...


class Store(Protocol):
    """A database with crag's schema in it; safe to use from several threads."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        ...

    def reader(self) -> AbstractContextManager[Reader]:
        """A consistent read-only view."""
        ...

    def writer(self) -> AbstractContextManager[Writer]:
        """A transaction: committed at the end of the block, undone by any exception."""
        ...

    def lookup(self) -> AbstractContextManager[Lookup]:
        """What a search asks; no transaction is held."""
        ...

    def create_collection(
        self,
        *,
        name: str,
        profile: str,
        nonce: bytes,
        sealed: bytes,
        epoch: int,
        dimension: int,
        snapshot: StoredSnapshot,
    ) -> StoredCollection:
        """Record a collection, make its tables and put its first snapshot, in one transaction.

        Raises:
            CragError: code ``collection-exists``; the name is taken.
        """
        ...

    def drop_collection(self, collection: int) -> None:
        """Remove a collection with all its tables."""
        ...

    def retire(self, keep: Generation) -> Retired:
        """Drop the tables of every other epoch and the rotation's record, once nobody reads them,
        and clear what the database keeps of superseded records.
        """
        ...

    def index(self, generation: Generation) -> bool:
        """Make the indexes of vectors and of tags where one is missing; whether one was."""
        ...

    def close(self) -> None:
        """Give up all connections."""
        ...

    def __enter__(self) -> Store: ...

    def __exit__(self, *exc: object) -> None: ...
