"""What a service in mode ``database`` keeps of every row that it verified.

A search then needs of the database only which rows are near, and their sealed texts: vectors, tags
and dates are those that were verified before. The texts of all near rows are fetched, though only
those of the hits are opened, because the database must not learn which of them the hits are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.search import Question, highest, refused, scores_of, stacked
from crag_core.store.interface import StoredRow, StoredText

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Rows whose bytes are held twice while they are collected.
_BLOCK = 4096
_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class VerifiedRows:
    """Rows of one snapshot, by number. It never changes, so threads may share it.

    Args:
        numbers: of each row's id.
        vectors: as the database has them, encrypted, float16[n, d].
        ivs: uint8[n, 12].
        expires: seconds since 1970 UTC, int64[n].
        tags: of the rows that have any, by number.
    """

    numbers: dict[bytes, int]
    vectors: NDArray[np.float16]
    ivs: NDArray[np.uint8]
    expires: NDArray[np.int64]
    tags: dict[int, tuple[bytes, ...]]

    def ranked(
        self, context: Context, question: Question, texts: Sequence[StoredText]
    ) -> list[tuple[StoredRow, float]]:
        """The ``k`` nearest among rows that a database named, and their scores, best first.

        Of each row, id, nonce and ciphertext are the database's and still to be authenticated.

        Raises:
            IntegrityViolated: a row does not exist, was named twice, or has not the tags asked for.
        """
        get = self.numbers.get
        chosen = [get(text.id, -1) for text in texts]
        if -1 in chosen:
            unknown = texts[chosen.index(-1)].id
            raise refused(context, unknown, "belongs to no document", "added")
        if len(set(chosen)) != len(chosen):
            raise refused(context, texts[0].id, "was returned twice", "added")
        wanted = set(question.tags)
        if wanted:
            for text, number in zip(texts, chosen, strict=True):
                if not wanted <= set(self.tags.get(number, ())):
                    what = "was returned without the labels asked for"
                    raise refused(context, text.id, what, "added")
        places = np.array(chosen, dtype=np.int64)
        live = np.flatnonzero(self.expires[places] > question.now)
        if not len(live):
            return []
        shown, names = places[live], [texts[at].id for at in live.tolist()]
        scores = scores_of(context, question.vector, self.vectors[shown], self.ivs[shown])
        near = highest(scores, names, question.k)
        return [(self._row(context, int(shown[at]), texts[live[at]]), score) for at, score in near]

    def _row(self, context: Context, number: int, text: StoredText) -> StoredRow:
        expires = int(self.expires[number])
        return StoredRow(
            text.id,
            context.row_version,
            context.profile.epoch,
            self.ivs[number].tobytes(),
            self.vectors[number].astype(">f2").tobytes(),
            text.nonce,
            text.ciphertext,
            self.tags.get(number, ()),
            None if expires == _NEVER else expires,
        )


class VerifiedRowsLoader:
    """Collects rows while they are verified.

    Args:
        context: the collection's.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._numbers: dict[bytes, int] = {}
        self._tags: dict[int, tuple[bytes, ...]] = {}
        self._expires: list[int] = []
        self._vectors: list[bytes] = []
        self._ivs: list[bytes] = []
        self._blocks: list[tuple[NDArray[np.float16], NDArray[np.uint8]]] = []

    def keep(self, row: StoredRow, _digest: bytes, _payload: bytes) -> None:
        """Take a row that is in order."""
        number = len(self._numbers)
        self._numbers[row.id] = number
        if row.tags:
            self._tags[number] = row.tags
        self._expires.append(_NEVER if row.expires is None else row.expires)
        self._vectors.append(row.vector)
        self._ivs.append(row.iv)
        if len(self._vectors) == _BLOCK:
            self._pack()

    def finish(self) -> VerifiedRows:
        """All rows taken, once the verification holds."""
        self._pack()
        vectors, ivs = zip(*self._blocks, strict=True)
        return VerifiedRows(
            self._numbers,
            np.concatenate(vectors),
            np.concatenate(ivs),
            np.array(self._expires, dtype=np.int64),
            self._tags,
        )

    def _pack(self) -> None:
        self._blocks.append(stacked(self._context, self._vectors, self._ivs))
        self._vectors, self._ivs = [], []
