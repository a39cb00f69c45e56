"""What this machine remembers of a collection: the newest snapshot it has seen, per database."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crag_core.collection.profile import check_name
from crag_core.config import home
from crag_core.errors import IntegrityViolated
from crag_core.snapshot import Anchor, AnchorFile, check
from crag_core.store.settings import DatabaseSettings

if TYPE_CHECKING:
    from crag_core.collection import Collection
    from crag_core.snapshot import Snapshot


class Anchors:
    """The anchor of one collection in one database.

    A collection of the same name in another database is another one, so the file's folder follows
    from server, port and database; the embedded database's lie in ``anchors`` itself.

    Raises:
        BadInput: the name cannot be one of a collection, or the URL of the database is unusable.
    """

    def __init__(self, database: DatabaseSettings, collection: str) -> None:
        folder = home() / "anchors"
        if database.given:
            given = database.conninfo()
            place = [str(given.get(part, "")) for part in ("host", "hostaddr", "port", "dbname")]
            folder /= hashlib.sha256("\0".join(place).encode()).hexdigest()[:16]
        self.file = AnchorFile(check_name(collection), folder)

    def load(self) -> Anchor | None:
        """The anchor, or None where this machine has seen nothing yet."""
        return self.file.load()

    def check(self, collection: Collection) -> None:
        """Refuse a collection that is older than the anchor.

        Raises:
            IntegrityViolated: it is.
        """
        # The anchor first: another program may write and remember more between the two.
        known = self.load()
        with self._hinted():
            check(collection.snapshot(), known)

    def check_gone(self) -> None:
        """Refuse that a collection which was seen here does not exist any more.

        Raises:
            IntegrityViolated: it was seen.
        """
        known = self.load()
        if known is not None:
            with self._hinted():
                raise IntegrityViolated(
                    f"The collection {known.collection} is gone from the database; this machine "
                    f"has seen its snapshot {known.sequence}.",
                    hint="Have the database restored.",
                    details={"violation": "rolled_back", "collection": known.collection},
                )

    def save(self, collection: Collection) -> None:
        """Remember the collection's snapshot if it is newer.

        Raises:
            IntegrityViolated: it is older than the one remembered.
        """
        while not self.advance(self.load(), collection.snapshot):
            pass

    def advance(self, known: Anchor | None, read: Callable[[], Snapshot]) -> bool:
        """Remember what ``read`` gives if it is newer than ``known``, which was loaded before.

        Returns:
            False if another program of this machine remembered something newer in between.

        Raises:
            IntegrityViolated: it is older than ``known``.
        """
        with self._hinted():
            try:
                self.file.advance(Anchor.of(read()))
            except IntegrityViolated:
                if self.load() == known:
                    raise
                return False
            return True

    @contextmanager
    def _hinted(self) -> Iterator[None]:
        try:
            yield
        except IntegrityViolated as violated:
            violated.hint = (
                f"Have the database's newest state restored. If you went back yourself and mean to "
                f"go on from there, remove {self.file.path}."
            )
            raise
