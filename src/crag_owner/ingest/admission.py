"""Which files are new or changed: decided before anything is parsed or embedded."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, KeysView
from dataclasses import dataclass, field, replace
from pathlib import Path

from crag_core.collection import Collection, DocumentInfo
from crag_core.keys import lp
from crag_owner.display import is_unicode, path_name
from crag_owner.files import Candidate, Corpus, Limits, read
from crag_owner.ingest.expiry import Expiry
from crag_owner.ingest.labels_file import Labels
from crag_owner.ingest.target import Target
from crag_owner.parsing import Parser, Unreadable, parser_for

FINGERPRINT = b"crag/ingest/v1"
# Files whose descriptions are looked up in one exchange with the database.
LOOKED_UP_FILES = 64
LOOKED_UP_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Task:
    """A file to look at: the ``number``-th, with what the collection knows of it."""

    number: int
    candidate: Candidate
    known: DocumentInfo | None = field(default=None, repr=False)
    refused: Unreadable | None = None
    repeated: bool = False


@dataclass(frozen=True)
class Admitted:
    """A file that was read: unchanged, to be relabelled, or to be parsed.

    ``digest`` is SHA-256 of its bytes, ``expires`` is seconds since 1970 UTC or None. ``relabel``:
    the content is the collection's, labels or date are not. ``revived``: the collection's document
    had expired.
    """

    parser: Parser
    data: bytes = field(repr=False)
    digest: bytes
    expires: int | None
    unchanged: bool = False
    relabel: bool = False
    revived: bool = False

    def without_data(self) -> Admitted:
        """The same without the file's bytes, which nobody needs once it is parsed."""
        return replace(self, data=b"")


class Admission:
    """Compares files with the collection; :meth:`admit` is thread-safe.

    Args:
        target: the collection, if there is one already.
        labels: of this run.
        expiry: of this run.
        limits: for reading.

    ``unseen`` has the sources of the folders that could not be entered: what lies below them is
    not known.
    """

    def __init__(self, target: Target, labels: Labels, expiry: Expiry, limits: Limits) -> None:
        self._target = target
        self._labels = labels
        self._expiry = expiry
        self._limits = limits
        # Some hundred bytes for each file: all that grows with the number of files.
        self._seen: dict[str, str] = {}
        self.unseen: list[str] = []

    @property
    def sources(self) -> KeysView[str]:
        """Sources of all files taken so far, readable or not."""
        return self._seen.keys()

    def tasks(self, corpus: Corpus) -> Iterator[Task]:
        """Each file, with what the collection knows of it.

        Raises:
            IntegrityViolated: a document's description was changed.
            Unreachable: the database does not answer.
        """
        window: list[Task] = []
        size = 0
        for number, candidate in enumerate(corpus, 1):
            window.append(self._task(number, candidate))
            size += candidate.size
            if len(window) >= LOOKED_UP_FILES or size >= LOOKED_UP_BYTES:
                yield from self._looked_up(window)
                window, size = [], 0
        yield from self._looked_up(window)

    def _task(self, number: int, candidate: Candidate) -> Task:
        path = os.fspath(candidate.path)
        if candidate.folder:
            self.unseen.append(candidate.source)
        other = self._seen.get(candidate.source)
        if other is None:
            # One text for both where a file is called by its path.
            path = candidate.source if path == candidate.source else path
            self._seen[candidate.source] = path
            return Task(number, candidate)
        if other == path:
            return Task(number, candidate, repeated=True)
        return Task(
            number,
            candidate,
            refused=Unreadable(
                f"has the name of {path_name(Path(other))} in the collection; give --base FOLDER"
            ),
        )

    def _looked_up(self, window: list[Task]) -> Iterator[Task]:
        collection = self._target.collection
        asked = [task.candidate.source for task in window if not task.refused]
        asked = [source for source in asked if is_unicode(source)]
        found = collection.find_many(asked) if collection is not None and asked else {}
        for task in window:
            known = found.pop(task.candidate.source, None)
            yield Task(task.number, task.candidate, known) if known else task

    def admit(self, task: Task) -> Admitted:
        """Read a file and compare it.

        Raises:
            Unreadable: it cannot go in.
        """
        if task.refused is not None:
            raise task.refused
        candidate = task.candidate
        if candidate.refused:
            raise Unreadable(candidate.refused)
        parser = parser_for(candidate.path)
        if parser is None and not candidate.path.is_dir() and candidate.path.exists():
            raise Unreadable(
                f"has a format that is not read ({candidate.path.suffix or 'no ending'})"
            )
        data = read(candidate, self._limits)
        if parser is None:
            raise Unreadable("is no regular file")
        digest = hashlib.sha256(data).digest()
        collection, known, now = self._target.collection, task.known, int(time.time())
        expires = self._expiry.of(known, now, changed=True)
        if collection is None or known is None:
            return Admitted(parser, data, digest, expires)
        if known.expired(now):
            return Admitted(parser, data, digest, expires, revived=True)
        if known.content_tag != self.tag(collection, parser, digest):
            return Admitted(parser, data, digest, expires)
        # A time counts from when the content came in.
        expires = self._expiry.of(known, now, changed=False)
        same = dict(known.labels) == self._labels.of(candidate.source) and known.expires == expires
        return Admitted(parser, b"", digest, expires, unchanged=same, relabel=not same)

    def tag(self, collection: Collection, parser: Parser, digest: bytes) -> bytes:
        """Changes with the file's bytes and with anything that would cut it otherwise."""
        ways = (FINGERPRINT, parser.name.encode(), self._target.policy.identity.encode())
        return collection.content_tag(b"".join(lp(part) for part in (*ways, digest)))
