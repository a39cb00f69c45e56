"""What a service in mode ``database`` keeps of every row that it verified.

A search then needs of the database only which rows are near: vectors, tags, dates and sealed texts
are those that were verified before. Where the texts of a collection are too large to be kept, those
of all near rows are fetched, though only those of the hits are opened, because the database must
not learn which of them the hits are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.row_numbers import ID_BYTES, UNKNOWN, RowNumbers
from crag_core.collection.search import Question, highest, refused, stacked
from crag_core.sealing import NONCE_BYTES
from crag_core.store.interface import StoredRow, StoredText

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Sealed texts kept of one collection, unless a service is told otherwise.
TEXT_BYTES = 1024**3
# Rows whose bytes are held twice while they are collected.
_BLOCK = 4096
_POINTER = 8
_NEVER = np.iinfo(np.int64).max


class Near(NamedTuple):
    """A row near a question: its place in the database's answer, its number, and its score."""

    place: int
    id: bytes
    number: int
    score: float


@dataclass(frozen=True)
class VerifiedRows:
    """Rows of one snapshot, by number. It never changes, so threads may share it.

    Args:
        numbers: of each row by its id.
        vectors: as the database has them, encrypted, float16[n, d].
        ivs: uint8[n, 12].
        expires: seconds since 1970 UTC, int64[n].
        tags: of the rows that have any, by number.
        texts: nonce and ciphertext of each row, one behind the other; None where they are too
            large to be kept.
    """

    numbers: RowNumbers
    vectors: NDArray[np.float16]
    ivs: NDArray[np.uint8]
    expires: NDArray[np.int64]
    tags: dict[int, tuple[bytes, ...]]
    texts: list[bytes] | None

    def ranked(self, context: Context, question: Question, joined: bytes) -> list[Near]:
        """The ``k`` nearest among rows that a database named, best first.

        Args:
            joined: ids, one behind the other.

        Raises:
            IntegrityViolated: a row does not exist, was named twice, or has not the tags asked for.
        """

        def id_of(at: int) -> bytes:
            return joined[ID_BYTES * at : ID_BYTES * (at + 1)]

        shown = self.numbers.find(joined)
        numbers: list[int] = shown.tolist()
        if UNKNOWN in numbers:
            unknown = id_of(numbers.index(UNKNOWN))
            raise refused(context, unknown, "belongs to no document", "added")
        if len(set(numbers)) != len(numbers):
            raise refused(context, id_of(0), "was returned twice", "added")
        wanted = set(question.tags)
        if wanted:
            for at, number in enumerate(numbers):
                if not wanted <= set(self.tags.get(number, ())):
                    what = "was returned without the labels asked for"
                    raise refused(context, id_of(at), what, "added")
        live = np.flatnonzero(self.expires[shown] > question.now).tolist()
        if not live:
            return []
        if len(live) < len(numbers):
            shown = shown[live]
        vectors, ivs = self.vectors.take(shown, axis=0), self.ivs.take(shown, axis=0)
        scores = context.cipher.scores(question.vector, vectors, ivs)
        best = highest(scores, lambda at: id_of(live[at]), question.k)
        return [Near(live[at], id_of(live[at]), numbers[live[at]], score) for at, score in best]

    def row(self, context: Context, near: Near, text: StoredText | None = None) -> StoredRow:
        """A row as it was verified, for it to be authenticated with its text.

        Args:
            text: of the row, from the database, where texts are not kept.
        """
        number = near.number
        expires = int(self.expires[number])
        if self.texts is not None:
            kept = self.texts[number]
            nonce, ciphertext = kept[:NONCE_BYTES], kept[NONCE_BYTES:]
        elif text is not None:
            nonce, ciphertext = text.nonce, text.ciphertext
        else:
            raise TypeError("a row needs its text where none is kept")
        return StoredRow(
            near.id,
            context.row_version,
            context.profile.epoch,
            self.ivs[number].tobytes(),
            self.vectors[number].astype(">f2").tobytes(),
            nonce,
            ciphertext,
            self.tags.get(number, ()),
            None if expires == _NEVER else expires,
        )


def joined_ids(context: Context, texts: Sequence[StoredText]) -> bytes:
    """The ids of texts that a database sent, one behind the other.

    Raises:
        IntegrityViolated: one of them has not 16 bytes, so that it is no row's.
    """
    for text in texts:
        if len(text.id) != ID_BYTES:
            raise refused(context, text.id, "belongs to no document", "added")
    return b"".join([text.id for text in texts])


class VerifiedRowsLoader:
    """Collects rows while they are verified.

    Args:
        context: the collection's.
        old: an earlier snapshot of the same epoch; a text that did not change is kept once.
        text_bytes: memory for sealed texts; of a collection that needs more none are kept.
    """

    def __init__(
        self, context: Context, old: VerifiedRows | None = None, text_bytes: int = TEXT_BYTES
    ) -> None:
        self._context = context
        self._old = old
        self._room = text_bytes
        self._ids: list[bytes] = []
        self._tags: dict[int, tuple[bytes, ...]] = {}
        self._expires: list[int] = []
        self._vectors: list[bytes] = []
        self._ivs: list[bytes] = []
        self._blocks: list[tuple[NDArray[np.float16], NDArray[np.uint8]]] = []
        # What was too much before is not collected again to be thrown away.
        too_much = old is not None and old.texts is None
        self._texts: list[bytes] | None = None if too_much else []

    def keep(self, row: StoredRow, _digest: bytes, _payload: bytes) -> None:
        """Take a row that is in order."""
        if row.tags:
            self._tags[len(self._ids)] = row.tags
        self._ids.append(row.id)
        self._expires.append(_NEVER if row.expires is None else row.expires)
        self._vectors.append(row.vector)
        self._ivs.append(row.iv)
        if self._texts is not None:
            self._texts.append(row.nonce + row.ciphertext)
            self._room -= sys.getsizeof(self._texts[-1]) + _POINTER
            if self._room < 0:
                self._texts = None
        if len(self._vectors) == _BLOCK:
            self._pack()

    def finish(self) -> VerifiedRows:
        """All rows taken, once the verification holds."""
        self._pack()
        vectors, ivs = zip(*self._blocks, strict=True)
        return VerifiedRows(
            RowNumbers(self._ids),
            np.concatenate(vectors),
            np.concatenate(ivs),
            np.array(self._expires, dtype=np.int64),
            self._tags,
            self._texts,
        )

    def _pack(self) -> None:
        first = len(self._ids) - len(self._vectors)
        self._blocks.append(stacked(self._context, self._vectors, self._ivs))
        self._vectors, self._ivs = [], []
        old = self._old
        if self._texts is None or old is None or old.texts is None:
            return
        before = old.numbers.find(b"".join(self._ids[first:])).tolist()
        for number, known in enumerate(before, first):
            if known != UNKNOWN and old.texts[known] == self._texts[number]:
                self._texts[number] = old.texts[known]
