"""What is left to see when vectors are sealed: sizes, and which rows are read together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from crag_owner.audit.linear import Indices, Matrix, squared_distances


@dataclass(frozen=True)
class SizeLeak:
    """What the sizes of n sealed items tell.

    ``entropy`` in bits out of ``log2(n)``; ``identified`` is the share of items that an attacker
    with all texts names right by size alone; ``alone`` the share whose size no other item has.
    """

    items: int
    distinct: int
    entropy: float
    identified: float
    alone: float
    largest: float


def size_leak(sizes: Sequence[int]) -> SizeLeak:
    """Measure the leak of ciphertext lengths in bytes."""
    total = len(sizes)
    if not total:
        return SizeLeak(0, 0, 0.0, 0.0, 0.0, 0.0)
    counts = np.unique(np.asarray(sizes), return_counts=True)[1]
    shares = counts / total
    return SizeLeak(
        items=total,
        distinct=len(counts),
        entropy=max(0.0, float(-(shares * np.log2(shares)).sum())),
        identified=len(counts) / total,
        alone=float((counts == 1).sum() / total),
        largest=float(shares.max()),
    )


def read_together(vectors: Matrix, labels: Sequence[object], k: int) -> float:
    """How often two rows that one question reads have the same label.

    Each row's own text is asked once; the k nearest other rows are the ones read. It is what a
    database sees if an enclave fetches the rows of its hits instead of holding all in memory.
    """
    codes = np.unique(np.asarray([repr(label) for label in labels]), return_inverse=True)[1]
    distances = squared_distances(vectors, vectors)
    np.fill_diagonal(distances, np.inf)
    count = min(k, len(vectors) - 1)
    if count < 2:
        return 0.0
    read: Indices = np.argpartition(distances, count - 1, axis=1)[:, :count]
    found = codes[read]
    same = (found[:, :, None] == found[:, None, :]).sum() - found.size
    return float(same / (len(found) * count * (count - 1)))
