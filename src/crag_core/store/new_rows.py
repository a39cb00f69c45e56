"""Rows on their way into the database, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crag_core.store.interface import StoredRow


class NewRows(NamedTuple):
    """Columns of one length with the values of :class:`StoredRow`.

    Ids, IVs, vectors and nonces are of one size per column; version and epoch are those of all
    rows. That spares what writes them a look at every row.
    """

    ids: Sequence[bytes]
    version: int
    epoch: int
    ivs: Sequence[bytes]
    vectors: Sequence[bytes]
    nonces: Sequence[bytes]
    ciphertexts: Sequence[bytes]
    tags: Sequence[tuple[bytes, ...]]
    expires: Sequence[int | None]

    @classmethod
    def of(cls, rows: Sequence[StoredRow]) -> NewRows:
        """The columns of rows.

        Raises:
            ValueError: they differ in version, epoch, or the size of id, IV, vector or nonce.
        """
        if not rows:
            return cls((), 0, 0, (), (), (), (), (), ())
        ids, versions, epochs, ivs, vectors, nonces, *rest = zip(*rows, strict=True)
        sizes = (map(len, column) for column in (ids, ivs, vectors, nonces))
        if any(len(set(column)) != 1 for column in (versions, epochs, *sizes)):
            raise ValueError("rows of several formats cannot be written together")
        return cls(ids, versions[0], epochs[0], ivs, vectors, nonces, *rest)

    def rows(self) -> list[StoredRow]:
        """The same row by row."""
        numbers = [self.version] * len(self.ids), [self.epoch] * len(self.ids)
        columns = zip(self.ids, *numbers, *self[3:], strict=True)
        return list(map(StoredRow._make, columns))
