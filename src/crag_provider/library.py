"""Open the owner's collection: check the key, verify every row, find the embedder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from crag_core.collection import Collection
from crag_core.embedding.registry import open_embedder_for
from crag_core.keys import MasterKey
from crag_core.snapshot import Anchor
from crag_core.store.opening import open_store
from crag_core.store.settings import DatabaseSettings
from crag_provider.key_release import ReleasedKeys
from crag_provider.rag.passages import Library
from crag_provider.settings import ProviderSettings


@contextlib.contextmanager
def opened_library(
    settings: ProviderSettings,
    database: DatabaseSettings,
    keys: ReleasedKeys,
    say: Callable[[str], None],
) -> Iterator[Library]:
    """The collection, verified as a whole, for one block.

    Raises:
        IntegrityViolated: the data key is not the collection's, a row is not what the owner
            wrote, or the collection is older than the owner's anchor.
        BadInput: there is no such collection, or the anchor is none.
        Unreachable: the database does not answer.
    """
    anchor = Anchor.from_bytes(keys.anchor.encode()) if keys.anchor else None
    master = MasterKey.from_bytes(bytes(keys.data.buffer))
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(open_store(database, create=False))
        collection = Collection.open(store, settings.collection, master)
        keys.data.wipe()
        loaded = collection.load(anchor, text_bytes=settings.text_memory << 20)
        say(f"verified {loaded.rows} rows, snapshot {loaded.snapshot.sequence}")
        embedder = open_embedder_for(
            collection.private,
            url=settings.embedder_url or None,
            api_key=settings.embedder_api_key or None,
        )
        stack.callback(embedder.close)
        yield Library(loaded, embedder, settings.fetch)
