"""The database that these tests share."""

from __future__ import annotations

from support.database import collection, owner_key, postgres, store

__all__ = ["collection", "owner_key", "postgres", "store"]
