"""From measured recall to a choice of factors, fetch size and search mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crag_owner.calibrate.measure import FETCHES, K, Recall, noise_to_spread, recall, spread

GOOD_RECALL = 0.99
USUAL_FETCH = 200
FACTORS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5)
ENCLAVE_ROWS = 200_000
_QUESTIONS = 200
_MOST_ROWS = 100_000


@dataclass(frozen=True)
class Advice:
    """What to choose, and why, in sentences."""

    scaling_factor: float
    approximation_factor: float
    fetch: int
    recall: float
    search_mode: str
    reasons: tuple[str, ...]


def smallest_fetch(measured: Recall) -> int | None:
    """The smallest K' measured that keeps recall at 0.99, or None."""
    for fetch in sorted(measured.at):
        if measured.at[fetch] >= GOOD_RECALL:
            return fetch
    return None


def own_fetch(measured: Sequence[Recall], factor: float) -> int | None:
    """As :func:`smallest_fetch`, with the collection's own factor."""
    return smallest_fetch(next(each for each in measured if each.approximation_factor == factor))


def advise(measured: Sequence[Recall], rows: int) -> Advice:
    """The most noise that costs no hits within the usual fetch of 200 rows, and the search mode.

    Args:
        measured: recall for approximation factors in rising order.
        rows: how many rows the collection has.
    """
    best, fetch = measured[0], max(measured[0].at)
    for candidate in measured:
        needed = smallest_fetch(candidate)
        if needed is not None and needed <= USUAL_FETCH:
            best, fetch = candidate, needed
    reached = best.at[fetch]
    reasons = [
        "The scaling factor is no security: neither a search nor an attacker notices it.",
        f"Approximation factor {best.approximation_factor:g} is the most noise at which recall@10 "
        f"stays at {reached:.3f} with {fetch} rows fetched."
        if reached >= GOOD_RECALL
        else f"Even approximation factor {best.approximation_factor:g} reaches recall@10 of only "
        f"{reached:.3f} with {fetch} rows fetched.",
    ]
    mode = "enclave" if rows <= ENCLAVE_ROWS else "database"
    reasons.append(
        f"{rows} rows fit into the enclave's memory, where a search reveals no distances; choose "
        "`database` only if the database's operator is trusted."
        if mode == "enclave"
        else f"{rows} rows are more than the {ENCLAVE_ROWS} up to which an exact search in the "
        "enclave is quick; run `crag-owner audit` to see what mode `database` reveals."
    )
    return Advice(1.0, best.approximation_factor, fetch, reached, mode, tuple(reasons))


def warning(
    vectors: Any, scaling_factor: float, approximation_factor: float, fetch: int
) -> str | None:
    """See :func:`crag_owner.calibrate.warning`."""
    del scaling_factor
    found = np.asarray(vectors, dtype=np.float32)
    if found.ndim != 2 or len(found) <= max(fetch, K) or approximation_factor <= 0.0:
        return None
    rng = np.random.default_rng(0)
    sampled = found if len(found) <= _MOST_ROWS else found[rng.permutation(len(found))[:_MOST_ROWS]]
    sizes = [size for size in FETCHES if size > fetch]
    measured = recall(
        sampled, None, [approximation_factor], rng, [fetch, *sizes], sample=_QUESTIONS
    )
    reached = measured[0].at[fetch]
    if reached >= GOOD_RECALL:
        return None
    rho = noise_to_spread(approximation_factor, spread(sampled))
    enough = smallest_fetch(measured[0])
    advice = f"fetch {enough} rows or choose" if enough else "choose"
    return (
        f"With approximation factor {approximation_factor:g} (noise {rho:.2f} times the spread of "
        f"these vectors) and {fetch} rows fetched, recall@10 is {reached:.3f}; {advice} a smaller "
        "factor. `crag-owner calibrate` measures which."
    )
