"""K': how many rows a database returns to be ranked again without noise, for the hits wanted.

An owner who measured it (``crag-owner calibrate``) records it in the sealed half of the profile,
for everybody who searches the collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crag_core.errors import BadInput
from crag_core.store.interface import MAX_NEAREST

# Member of the private profile: K' for ten hits.
FETCH = "fetch"
FOR_HITS = 10
MIN_FETCH = 100
FETCH_PER_HIT = 20


def checked_fetch(fetch: int) -> int:
    """K' for ten hits, as it can be recorded.

    Raises:
        BadInput: it is not between 10 and 1000.
    """
    if not FOR_HITS <= fetch <= MAX_NEAREST:
        raise BadInput(
            f"{fetch} rows cannot be fetched for {FOR_HITS} hits.",
            hint=f"Choose {FOR_HITS} to {MAX_NEAREST}.",
        )
    return fetch


def recorded(private: Mapping[str, Any]) -> int | None:
    """What the owner recorded, or None; what no owner's program writes counts for nothing."""
    found = private.get(FETCH)
    usable = type(found) is int and FOR_HITS <= found <= MAX_NEAREST
    return found if usable else None


def rows_for(k: int, fetch: int | None, kept: int | None = None) -> int:
    """How many rows to fetch for ``k`` hits.

    Args:
        fetch: so many, where given.
        kept: what the owner recorded, K' for ten hits: for fewer as well, because noise moves the
            best hit as far as the tenth; for more in proportion. Without it 20 per hit, at least
            100. Never more than 1000.

    Raises:
        BadInput: k is not between 1 and 1000, or ``fetch`` not between k and 1000.
    """
    if not 1 <= k <= MAX_NEAREST:
        raise BadInput(f"{k} hits cannot be searched.", hint=f"Ask for 1 to {MAX_NEAREST}.")
    if fetch is None and kept is not None:
        return min(max(kept, -(-kept * k // FOR_HITS)), MAX_NEAREST)
    if fetch is None:
        return min(max(MIN_FETCH, FETCH_PER_HIT * k), MAX_NEAREST)
    if not k <= fetch <= MAX_NEAREST:
        raise BadInput(
            f"{fetch} rows cannot be fetched for {k} hits.", hint=f"Fetch {k} to {MAX_NEAREST}."
        )
    return fetch
