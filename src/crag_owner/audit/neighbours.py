"""What distances between ciphertexts tell without any attack on the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crag_owner.audit.linear import Indices, Matrix, squared_distances

MAX_PAIRS = 1_000_000


@dataclass(frozen=True)
class Duplicates:
    """How well a repeated text is told from a text that is merely the most similar one."""

    auc: float
    tpr_at_1_percent: float


def distance_correlation(plain: Matrix, rows: Matrix, rng: np.random.Generator) -> float:
    """Pearson correlation of squared distances between plaintexts and between ciphertexts.

    All pairs, or a million random ones where there are more.
    """
    count = len(plain)
    if count * (count - 1) // 2 <= MAX_PAIRS:
        left, right = np.triu_indices(count, 1)
    else:
        left = rng.integers(0, count, MAX_PAIRS)
        right = (left + rng.integers(1, count, MAX_PAIRS)) % count
    if len(left) < 2:
        return 0.0
    one = _between(plain, left, right)
    two = _between(rows, left, right)
    if one.std() == 0.0 or two.std() == 0.0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


def _between(vectors: Matrix, left: Indices, right: Indices) -> NDArray[np.float64]:
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    product = np.empty(len(left))
    for start in range(0, len(left), 65_536):
        part = slice(start, start + 65_536)
        product[part] = np.einsum("ij,ij->i", vectors[left[part]], vectors[right[part]])
    return np.asarray(squares[left] + squares[right] - 2.0 * product)


def same_label(rows: Matrix, labels: Sequence[object], neighbours: int = 1) -> float:
    """How often the label of a row is that of its nearest rows, by majority of ``neighbours``.

    One labelled row is then enough to label the rows around it.
    """
    codes = np.unique(np.asarray([repr(label) for label in labels]), return_inverse=True)[1]
    distances = squared_distances(rows, rows)
    np.fill_diagonal(distances, np.inf)
    count = min(neighbours, len(rows) - 1)
    if count < 1:
        return 0.0
    order = np.argsort(distances, axis=1)[:, :count]
    votes = codes[order]
    hits = 0
    for own, row in zip(codes, votes, strict=True):
        values, counts = np.unique(row, return_counts=True)
        winners = values[counts == counts.max()]
        # A tie goes to the nearest row that has one of the winning labels.
        choice = next(value for value in row if value in winners)
        hits += int(choice == own)
    return hits / len(rows)


def label_chance(labels: Sequence[object]) -> float:
    """The same for a row chosen at random in place of the nearest."""
    counts = np.unique(np.asarray([repr(label) for label in labels]), return_counts=True)[1]
    total = counts.sum()
    return float((counts * (counts - 1)).sum() / max(total * (total - 1), 1))


def duplicates(rows: Matrix, again: Matrix) -> Duplicates:
    """Tell two encryptions of one text from a text and its nearest other text.

    Args:
        rows: ciphertexts float32[n, d] of n texts.
        again: fresh ciphertexts of the same texts in the same order, under the same key.
    """
    same = np.sqrt(np.einsum("ij,ij->i", again - rows, again - rows))
    distances = squared_distances(again, rows)
    np.fill_diagonal(distances, np.inf)
    other = np.sqrt(distances.min(axis=1))
    ranked = np.sort(other)
    below = np.searchsorted(ranked, same, side="left")
    ties = np.searchsorted(ranked, same, side="right") - below
    auc = 1.0 - float(np.mean((below + 0.5 * ties) / len(other)))
    threshold = ranked[int(0.01 * len(ranked))]
    return Duplicates(auc, float(np.mean(same < threshold)))
