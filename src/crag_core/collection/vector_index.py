"""The index of mode ``enclave``: HNSW by usearch, in this process's memory and nowhere else.

Decision 0008 says why usearch, and where the numbers come from.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Up to here a product of matrix and vector is as fast as a graph, and exact.
EXACT_ROWS = 10_000
CONNECTIVITY = 16
EXPANSION_ADD = 128
# How many candidates a search holds: recall@10 of 0.999 on vectors spread as an embedder's are.
EXPANSION_SEARCH = 512


class VectorIndex:
    """Nearest rows by inner product; a row is known by its number. Safe to share by threads.

    Args:
        vectors: float16[n, d]; row i gets number i.
    """

    def __init__(self, vectors: NDArray[np.float16]) -> None:
        from usearch.index import Index

        self._guard = threading.Lock()
        self._index: Any = Index(
            ndim=vectors.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=CONNECTIVITY,
            expansion_add=EXPANSION_ADD,
            expansion_search=EXPANSION_SEARCH,
        )
        self._add(0, vectors)

    def __len__(self) -> int:
        return len(self._index)

    def extended(self, vectors: NDArray[np.float16]) -> VectorIndex:
        """A copy with further rows, numbered on; this one is left as it is for its readers."""
        made = object.__new__(VectorIndex)
        made._guard = threading.Lock()
        with self._guard:
            made._index = self._index.copy()
        # usearch does not take this setting along into a copy.
        made._index.expansion_search = EXPANSION_SEARCH
        made._add(len(self), vectors)
        return made

    def nearest(self, query: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Numbers of up to ``count`` rows near ``query`` (float32[d]), best first."""
        half = query.astype(np.float16)
        # usearch hands out one search context to all callers that ask for one thread.
        with self._guard:
            found = self._index.search(half, count, threads=1)
        return np.asarray(found.keys, dtype=np.int64)

    def _add(self, start: int, vectors: NDArray[np.float16]) -> None:
        if len(vectors):
            numbers = np.arange(start, start + len(vectors), dtype=np.uint64)
            self._index.add(numbers, vectors, threads=0)
