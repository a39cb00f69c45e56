"""Open an existing collection: database, key, anchor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crag_core.errors import BadInput
from crag_core.store.options import DatabaseSettings, open_store
from crag_owner.keyfile import KeySource

if TYPE_CHECKING:
    from crag_core.collection import Collection
    from crag_core.store.interface import Store
    from crag_owner.anchors import Anchors


@dataclass(frozen=True)
class Opened:
    """A collection with the store that it is in and this machine's memory of its snapshots."""

    store: Store
    collection: Collection
    anchors: Anchors


@contextmanager
def opened(
    database: DatabaseSettings, name: str, key: KeySource, *, check_anchor: bool = True
) -> Iterator[Opened]:
    """The collection for one block.

    Args:
        check_anchor: refuse a snapshot that is older than one seen before, remember a newer one.

    Raises:
        BadInput: no such collection, or no key.
        IntegrityViolated: the key is not the collection's, or its snapshot was rolled back.
        Unreachable: the database does not answer.
    """
    from crag_core.collection import Collection
    from crag_owner.anchors import Anchors

    anchors = Anchors(database, name)
    master = key.load()
    with ExitStack() as stack:
        try:
            store = stack.enter_context(open_store(database, create=False))
            collection = Collection.open(store, name, master)
        except BadInput:
            # With settings and key already read, only this is left: the collection is not there.
            anchors.check_gone()
            raise
        if check_anchor:
            anchors.save(collection)
        yield Opened(store, collection, anchors)
