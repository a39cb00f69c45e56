"""The keys of a collection without a database."""

from __future__ import annotations

from crag_core.collection import profile as profiles
from crag_core.collection.context import Context
from crag_core.keys import MasterKey

DIMENSION = 8


def make_context(
    name: str = "demo", key: bytes = b"k" * 32, salt: bytes = b"s" * 32, mode: str = "database"
) -> Context:
    """A collection's context; the same arguments give the same keys."""
    profile, keys = profiles.make(
        name,
        MasterKey.from_bytes(key),
        salt=salt,
        dimension=DIMENSION,
        search_mode=mode,
        scaling_factor=1.0,
        approximation_factor=1.0,
    )
    return Context(1, name, profile, keys)
