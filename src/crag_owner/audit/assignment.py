"""The cheapest one-to-one assignment, by shortest augmenting paths.

Jonker and Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment
problems" (Computing 38, 1987), without their initialisation: rows are added one by one, each search
scans whole rows, so that a few hundred coordinates take about a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from crag_owner.audit.linear import Indices


def assign(costs: Any) -> Indices:
    """For each row of ``costs`` float[n, n] its column, every column once, the sum of costs least.

    Raises:
        ValueError: not a square matrix of finite numbers.
    """
    cost = np.asarray(costs, dtype=np.float64)
    if cost.ndim != 2 or cost.shape[0] != cost.shape[1] or not np.isfinite(cost).all():
        raise ValueError("assignment needs a square matrix of finite costs")
    size = len(cost)
    reduced = cost - cost.min(axis=1, keepdims=True)
    potential = reduced.min(axis=0)
    row_of = np.full(size, -1, dtype=np.intp)
    column_of = np.full(size, -1, dtype=np.intp)
    for row, column in enumerate((reduced - potential).argmin(axis=1).tolist()):
        if row_of[column] < 0:
            row_of[column], column_of[row] = row, column
    for row in np.flatnonzero(column_of < 0).tolist():
        _augment(row, reduced, potential, row_of, column_of)
    return column_of


def _augment(
    start: int,
    cost: NDArray[np.float64],
    potential: NDArray[np.float64],
    row_of: Indices,
    column_of: Indices,
) -> None:
    """Give row ``start`` a column along the cheapest alternating path; potentials stay feasible."""
    size = len(cost)
    distance = np.full(size, np.inf)
    before = np.full(size, start, dtype=np.intp)
    done = np.zeros(size, dtype=bool)
    row, base = start, 0.0
    while True:
        matched = column_of[row]
        own = 0.0 if matched < 0 else cost[row, matched] - potential[matched]
        through = base + cost[row] - potential - own
        better = ~done & (through < distance)
        distance[better] = through[better]
        before[better] = row
        column = int(np.where(done, np.inf, distance).argmin())
        base = float(distance[column])
        done[column] = True
        if row_of[column] < 0:
            break
        row = int(row_of[column])
    shift = done.copy()
    shift[column] = False
    potential[shift] += distance[shift] - base
    while True:
        row = int(before[column])
        row_of[column] = row
        column_of[row], column = column, int(column_of[row])
        if row == start:
            return
