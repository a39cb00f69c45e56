"""A collection that was verified as a whole, for a service that answers from it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crag_core.collection.context import Context
from crag_core.collection.following import moved
from crag_core.collection.labels import label_tags
from crag_core.collection.memory import Memory, MemoryLoader
from crag_core.collection.report import refuse
from crag_core.collection.search import Hit, Question, find_held, find_known
from crag_core.collection.verified_rows import (
    TEXT_BYTES,
    VerifiedRows,
    VerifiedRowsLoader,
    joined_ids,
)
from crag_core.collection.verify import examine
from crag_core.errors import IntegrityViolated, Unreachable
from crag_core.snapshot import Anchor, Snapshot
from crag_core.store.interface import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class Verified:
    """What a verification found: the snapshot, digests by row id, and what is held of the rows:
    in mode ``enclave`` ``memory``, in mode ``database`` ``rows``.
    """

    context: Context
    snapshot: Snapshot
    known: dict[bytes, bytes]
    memory: Memory | None = None
    rows: VerifiedRows | None = None


def verified(
    context: Context,
    store: Store,
    anchor: Anchor | None,
    old: Verified | None = None,
    *,
    indexed: bool,
    text_bytes: int = TEXT_BYTES,
) -> Verified:
    """Verify a collection, and hold in memory what its search mode needs for many searches.

    Args:
        old: an earlier snapshot; what did not change since is taken over.
        indexed: for many searches.
        text_bytes: sealed texts to hold in mode ``database``; of a collection that has more none
            are held.

    Raises:
        IntegrityViolated: it does not verify; the message names the first violation.
        Unreachable: the database does not answer.
    """
    # Another epoch has other rows.
    same = old is not None and old.context is context
    loader: MemoryLoader | VerifiedRowsLoader
    if context.in_enclave:
        loader = MemoryLoader(context, old.memory if old and same else None, indexed=indexed)
    else:
        loader = VerifiedRowsLoader(context, old.rows if old and same else None, text_bytes)
    examined = examine(context, store, anchor, keep=loader.keep)
    refuse(context.name, examined.verification)
    snapshot = examined.verification.snapshot
    if snapshot is None:
        raise TypeError("a verification without violation has a snapshot")
    held = loader.finish()
    if isinstance(held, Memory):
        return Verified(context, snapshot, examined.known, memory=held)
    return Verified(context, snapshot, examined.known, rows=held)


class LoadedCollection:
    """Answers only from rows that were verified; safe to use from several threads.

    Each search looks at the snapshot first. A newer one is verified as a whole before anything is
    answered from it; an older one, or another one with the same number, is refused. A rotation to a
    new epoch under the same master key is a newer snapshot like any other.
    """

    def __init__(
        self,
        context: Context,
        store: Store,
        anchor: Anchor | None,
        text_bytes: int = TEXT_BYTES,
    ) -> None:
        self._store = store
        self._anchor = anchor
        self._text_bytes = text_bytes
        self._guard = threading.Lock()
        self._verified = self._examine(context)

    @property
    def name(self) -> str:
        """The collection's name."""
        return self._verified.context.name

    @property
    def snapshot(self) -> Snapshot:
        """The snapshot that was verified last."""
        return self._verified.snapshot

    @property
    def rows(self) -> int:
        """How many rows were verified."""
        return len(self._verified.known)

    def search(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        fetch: int | None = None,
        filter: Mapping[str, str] | None = None,
    ) -> list[Hit]:
        """The ``k`` nearest rows, best first; arguments as :meth:`Collection.search`.

        Raises:
            IntegrityViolated: a row is not the verified one, the collection was rolled back, or a
                newer snapshot does not verify.
            Unreachable: the database does not answer, or changes faster than it can be verified.
            BadInput: the vector is not one of the collection, or k or fetch is out of range.
        """
        return self.search_with_snapshot(vector, k, fetch, filter)[0]

    def search_with_snapshot(
        self,
        vector: NDArray[np.float32],
        k: int = 10,
        fetch: int | None = None,
        filter: Mapping[str, str] | None = None,
    ) -> tuple[list[Hit], Snapshot]:
        """As :meth:`search`, and the snapshot that the hits are from."""
        for _ in range(MAX_ATTEMPTS):
            held = self._verified
            try:
                hits, current = self._attempt(held, vector, k, fetch, filter or {})
                if hits is not None:
                    return hits, current
                self._renew(held.context, current)
            except IntegrityViolated:
                if not self._follow(held):
                    raise
        raise Unreachable(
            f"The collection {self.name} changes faster than it can be verified.",
            hint="Ask again when the ingest is done.",
        )

    def _attempt(
        self,
        held: Verified,
        vector: NDArray[np.float32],
        k: int,
        fetch: int | None,
        labels: Mapping[str, str],
    ) -> tuple[list[Hit] | None, Snapshot]:
        """Hits and their snapshot; no hits where the snapshot is a newer one."""
        context = held.context
        tags = label_tags(context, labels)
        if held.memory is not None:
            with self._store.lookup() as lookup:
                stored = lookup.snapshot(context.identity)
            current = context.current(stored, held.snapshot)
            same = current == held.snapshot
            hits = held.memory.find(vector, k=k, fetch=fetch, tags=tags) if same else None
            return hits, current
        if held.rows is None:
            raise TypeError("a collection is held by its memory or by its rows")
        question = Question.of(context, vector, k, fetch, tags)
        find = self._fetch_texts if held.rows.texts is None else self._hold_texts
        return find(held, held.rows, question)

    def _hold_texts(
        self, held: Verified, rows: VerifiedRows, question: Question
    ) -> tuple[list[Hit] | None, Snapshot]:
        context = held.context
        with self._store.lookup() as lookup:
            seen = lookup.nearest_ids(context.generation, *question.asked)
        current = context.current(seen.snapshot, held.snapshot)
        if current != held.snapshot:
            return None, current
        near = rows.ranked(context, question, seen.joined)
        found = [(rows.row(context, each), each.score) for each in near]
        return find_held(context, found, held.known), current

    def _fetch_texts(
        self, held: Verified, rows: VerifiedRows, question: Question
    ) -> tuple[list[Hit] | None, Snapshot]:
        context = held.context
        with self._store.lookup() as lookup:
            seen = lookup.nearest_texts(context.generation, *question.asked)
        current = context.current(seen.snapshot, held.snapshot)
        if current != held.snapshot:
            return None, current
        near = rows.ranked(context, question, joined_ids(context, seen.texts))
        found = [(rows.row(context, each, seen.texts[each.place]), each.score) for each in near]
        return find_known(context, found, held.known), current

    def _follow(self, held: Verified) -> bool:
        """Verify the collection in the epoch that it was rotated to; whether it was."""
        with self._guard:
            # Another thread may have gone there while this one waited.
            if self._verified.context is not held.context:
                return True
            found = moved(held.context, self._store)
            if found is not None:
                self._verified = self._examine(found.context)
            return found is not None

    def _renew(self, context: Context, wanted: Snapshot) -> None:
        with self._guard:
            # Another thread may have verified it while this one waited.
            if self._verified.snapshot.sequence < wanted.sequence:
                self._verified = self._examine(context, self._verified)
            elif self._verified.snapshot.sequence == wanted.sequence:
                self._same(wanted)

    def _same(self, wanted: Snapshot) -> None:
        if self._verified.snapshot != wanted:
            raise IntegrityViolated(
                f"The collection {self.name} has two snapshots with number {wanted.sequence}.",
                hint="Two owners wrote to one database that was restored in between.",
                details={"collection": self.name, "violation": "rolled_back", "row": "snapshot"},
            )

    def _examine(self, context: Context, old: Verified | None = None) -> Verified:
        return verified(
            context, self._store, self._anchor, old, indexed=True, text_bytes=self._text_bytes
        )
