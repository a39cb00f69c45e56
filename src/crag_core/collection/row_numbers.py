"""The numbers of rows by their ids, for hundreds of ids at once.

In a dictionary of very many ids each one asked for costs its hash and some cache misses, one after
the other. Here all of them are looked for together, and a row takes a quarter of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from crag_core.vectors.kernel import native

if TYPE_CHECKING:
    from numpy.typing import NDArray

ID_BYTES = 16
UNKNOWN = np.iinfo(np.uint32).max
# Places per row, so that few rows share one.
_PLACES = 2


class RowNumbers:
    """Numbers rows in the order in which their ids are given, from 0.

    A row's place follows from the first bits of its id. Ids are keyed hashes, so that few rows have
    the same place; with others it only takes longer.

    Args:
        ids: fewer than 2^31 different ones, of 16 bytes each.
    """

    __slots__ = ("_ids", "_most", "_numbers", "_shift", "_starts")

    def __init__(self, ids: Sequence[bytes]) -> None:
        halves = _halves(b"".join(ids))
        bits = max(1, (_PLACES * len(ids)).bit_length())
        self._shift = 64 - bits
        order = np.argsort(halves[:, 0], kind="stable")
        self._ids = halves[order]
        self._numbers: NDArray[np.uint32] = order.astype(np.uint32)[:, None]
        counts = np.bincount(self._place(halves), minlength=1 << bits)
        self._most = int(counts.max())
        ends = np.cumsum(counts, dtype=np.uint32)
        self._starts = np.concatenate([np.zeros(1, np.uint32), ends])[:, None]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._ids)

    def find(self, joined: bytes) -> NDArray[np.uint32]:
        """The number of each id, or :data:`UNKNOWN` where no row has it.

        Args:
            joined: ids, one behind the other; what is left behind the last whole one is no row's.
        """
        whole = len(joined) // ID_BYTES
        found = np.full((-(-len(joined) // ID_BYTES), 1), UNKNOWN, dtype=np.uint32)
        asked = _halves(joined[: whole * ID_BYTES])
        compiled = native()
        if compiled is None:
            self._find(asked, found[:whole, 0])
        else:
            compiled.find(
                self._ids.view(np.uint8),
                self._numbers,
                self._starts,
                self._shift,
                asked.view(np.uint8),
                found[:whole],
            )
        return found[:, 0]

    def _find(self, asked: NDArray[np.uint64], found: NDArray[np.uint32]) -> None:
        if not len(self):
            return
        left, at = np.arange(len(asked)), self._starts[self._place(asked), 0].astype(np.int64)
        for _ in range(self._most):
            # The last row stands in for those behind it, and fits no better.
            near = np.minimum(at, len(self) - 1)
            ids = self._ids[near]
            fits = (ids[:, 0] == asked[:, 0]) & (ids[:, 1] == asked[:, 1])
            found[left[fits]] = self._numbers[near[fits], 0]
            left, asked, at = left[~fits], asked[~fits], at[~fits] + 1

    def _place(self, halves: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (halves[:, 0] >> np.uint64(self._shift)).astype(np.int64)


def _halves(joined: bytes) -> NDArray[np.uint64]:
    """uint64[n, 2]: first and second half of each id, as little-endian numbers."""
    return np.frombuffer(joined, dtype="<u8").reshape(-1, 2)
