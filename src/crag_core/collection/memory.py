"""A collection of mode ``enclave`` in the memory of this process: opened, verified, searchable.

Vectors and texts are held here, so that a question makes the database see nothing but a look at the
snapshot. Nothing of it is written anywhere.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.fetching import rows_for
from crag_core.collection.rows import decode, text_part, vector_part
from crag_core.collection.search import Hit, hit
from crag_core.collection.vector_index import EXACT_ROWS, VectorIndex
from crag_core.store.interface import StoredRow
from crag_core.vectors.checks import unit_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows compared in one step, so that no copy of all vectors is made.
BLOCK = 4096
# An index with more dead rows than this share is made anew.
MAX_DEAD = 0.2
MAX_COUNT = 4096
NEVER = np.iinfo(np.int64).max


class Held(NamedTuple):
    """A row in memory: its id, digest, tags, expiry and the JSON of its text."""

    id: bytes
    digest: bytes
    tags: tuple[bytes, ...]
    expires: int | None
    text: bytes


@dataclass(frozen=True)
class Memory:
    """The rows of one snapshot. It never changes, so threads may share it.

    ``vectors`` is float[n, d] with one row for each of ``rows``; ``alive`` says which of them the
    snapshot still has; ``tagged`` has the numbers of the rows with each tag; ``expires`` is
    int64[n].
    """

    context: Context
    rows: list[Held]
    vectors: NDArray[np.floating]
    alive: NDArray[np.bool_]
    expires: NDArray[np.int64]
    tagged: dict[bytes, NDArray[np.int64]]
    index: VectorIndex | None

    def find(
        self,
        vector: NDArray[np.float32],
        *,
        k: int,
        fetch: int | None = None,
        tags: Sequence[bytes] = (),
    ) -> list[Hit]:
        """The ``k`` nearest rows that carry all ``tags``, best first; nothing leaves the process.

        Args:
            vector: the question's, float32[d] of unit norm.
            fetch: accepted as in mode ``database``; there is no noise that would need it.

        Raises:
            BadInput: the vector is not one of the collection, or k or fetch is out of range.
        """
        rows_for(k, fetch)
        query = unit_row(vector, self.context.profile.dimension)[0]
        admitted = self._admitted(int(time.time()), tags)
        numbers, scores = self._nearest(query, k, admitted)
        order = sorted(
            range(len(numbers)), key=lambda at: (-float(scores[at]), self.rows[numbers[at]].id)
        )
        found = []
        for rank, at in enumerate(order[:k], 1):
            row = self.rows[numbers[at]]
            content = decode(row.id, row.text)
            found.append(hit(rank, float(scores[at]), content, row.digest))
        return found

    def _admitted(self, now: int, tags: Sequence[bytes]) -> NDArray[np.bool_]:
        admitted = self.alive & (self.expires > now)
        for tag in tags:
            carries = np.zeros(len(admitted), dtype=np.bool_)
            carries[self.tagged.get(tag, np.empty(0, np.int64))] = True
            admitted &= carries
        return admitted

    def _nearest(
        self, query: NDArray[np.float32], k: int, admitted: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        total = int(admitted.sum())
        if self.index is not None and total > EXACT_ROWS:
            # Among the nearest of all, those admitted are the nearest of the admitted.
            count = max(2 * k, 32) * max(1, len(admitted) // total)
            while count <= MAX_COUNT:
                near = self.index.nearest(query, count)
                near = near[admitted[near]]
                if len(near) >= k:
                    return near, self._scores(query, near)
                count *= 4
        return self._exact(query, k, np.flatnonzero(admitted))

    def _exact(
        self, query: NDArray[np.float32], k: int, numbers: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        scores = np.empty(len(numbers), dtype=np.float32)
        for start in range(0, len(numbers), BLOCK):
            part = slice(start, start + BLOCK)
            scores[part] = self._scores(query, numbers[part])
        if len(numbers) > k:
            edge = np.partition(scores, len(scores) - k)[len(scores) - k]
            best = np.flatnonzero(scores >= edge)
            return numbers[best], scores[best]
        return numbers, scores

    def _scores(
        self, query: NDArray[np.float32], numbers: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        # A whole block in order needs no gathered copy.
        whole = len(numbers) and numbers[-1] - numbers[0] + 1 == len(numbers)
        ordered = whole and bool((np.diff(numbers) == 1).all())
        part = self.vectors[numbers[0] : numbers[-1] + 1] if ordered else self.vectors[numbers]
        scores: NDArray[np.float32] = part.astype(np.float32, copy=False) @ query
        return scores


class MemoryLoader:
    """Collects the rows of a verification; those that ``old`` holds are taken over from it.

    Args:
        indexed: make an index where the collection is large enough; for a service, because making
            it takes longer than many exact searches.
    """

    def __init__(self, context: Context, old: Memory | None, *, indexed: bool) -> None:
        self._context = context
        self._old = old
        self._indexed = indexed
        rows = old.rows if old is not None else []
        live = np.flatnonzero(old.alive).tolist() if old is not None else []
        self._numbers = {rows[at].id: at for at in live}
        self._kept: list[int] = []
        self._new: list[Held] = []
        self._vectors: list[bytes] = []

    def keep(self, row: StoredRow, digest: bytes, payload: bytes) -> None:
        """Take a row that is in order."""
        at = self._numbers.get(row.id)
        if at is not None and self._old is not None and self._old.rows[at].digest == digest:
            self._kept.append(at)
            return
        text = text_part(self._context, payload)
        self._new.append(Held(row.id, digest, row.tags, row.expires, text))
        self._vectors.append(vector_part(self._context, payload))

    def finish(self) -> Memory:
        """All rows taken, once the verification holds."""
        fresh = np.frombuffer(b"".join(self._vectors), dtype=">f2").astype(np.float16)
        fresh = fresh.reshape(len(self._new), self._context.profile.dimension)
        old = self._old
        if old is None or len(self._kept) < (1 - MAX_DEAD) * len(old.rows):
            return self._anew(fresh)
        alive = np.zeros(len(old.rows) + len(fresh), dtype=np.bool_)
        alive[self._kept] = True
        alive[len(old.rows) :] = True
        vectors = np.concatenate([old.vectors, fresh.astype(old.vectors.dtype)])
        index = old.index.extended(fresh) if old.index is not None else None
        return self._made([*old.rows, *self._new], vectors, alive, index)

    def _anew(self, fresh: NDArray[np.float16]) -> Memory:
        """Without the dead rows of the old memory."""
        rows = self._new
        vectors: NDArray[np.floating] = fresh
        if self._old is not None and self._kept:
            rows = [*(self._old.rows[at] for at in self._kept), *rows]
            vectors = np.concatenate([self._old.vectors[self._kept].astype(np.float16), fresh])
        return self._made(rows, vectors, np.ones(len(rows), dtype=np.bool_), None)

    def _made(
        self,
        rows: list[Held],
        vectors: NDArray[np.floating],
        alive: NDArray[np.bool_],
        index: VectorIndex | None,
    ) -> Memory:
        if index is None and self._indexed and len(rows) > EXACT_ROWS:
            vectors = vectors.astype(np.float16, copy=False)
            index = VectorIndex(vectors)
        elif index is None:
            # Compared whole for every question, and spared the conversion each time.
            vectors = vectors.astype(np.float32, copy=False)
        tagged: dict[bytes, list[int]] = defaultdict(list)
        for number, row in enumerate(rows):
            for tag in row.tags:
                tagged[tag].append(number)
        moments = [NEVER if row.expires is None else row.expires for row in rows]
        return Memory(
            context=self._context,
            rows=rows,
            vectors=vectors,
            alive=alive,
            expires=np.array(moments, dtype=np.int64),
            tagged={tag: np.array(numbers, dtype=np.int64) for tag, numbers in tagged.items()},
            index=index,
        )
