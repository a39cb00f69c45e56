"""From a file's bytes to chunks, several files at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from crag_owner.chunking import Chunk, split
from crag_owner.ingest.target import Target
from crag_owner.parsing import Parser, Unreadable
from crag_owner.parsing.sandbox import ParsingSandbox

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Small files that wait for a parser while a batch is embedded.
FILES_AHEAD = 64


@dataclass(frozen=True)
class Prepared:
    """A file's chunks; ``vectors``, float32[n, d], where they are embedded already; ``missing`` as
    in :class:`crag_owner.parsing.ParsedDocument`.
    """

    chunks: Sequence[Chunk] = field(repr=False)
    vectors: NDArray[np.float32] | None = field(default=None, repr=False)
    missing: str = ""


class Preparation(Protocol):
    """Prepares files for the pipeline's threads."""

    @property
    def threads(self) -> int:
        """How many files are prepared at once, at most."""

    @property
    def ahead(self) -> int:
        """How many files may be under way now, those that wait for a thread included."""

    def prepare(
        self, parser: Parser, suffix: str, data: bytes, check: Callable[[], None]
    ) -> Prepared:
        """Chunks of one file; called from several threads.

        Args:
            parser: for its format.
            suffix: the ending of its name.
            data: its bytes.
            check: to be called now and then; raises when the run ends.

        Raises:
            Unreadable: it cannot go in.
        """

    def stop(self) -> None:
        """Have every call under way return soon, with whatever error."""

    def close(self) -> None:
        """Give back what it holds, once no call is under way."""


class LocalPreparation:
    """Parses in child processes of this machine and cuts in the calling thread.

    Args:
        target: whose policy and embedder say how to cut.
        sandbox: parses.
        threads: how many files at once.
    """

    ahead = FILES_AHEAD

    def __init__(self, target: Target, sandbox: ParsingSandbox, threads: int) -> None:
        self.threads = threads
        self._target = target
        self._sandbox = sandbox

    def prepare(
        self, parser: Parser, suffix: str, data: bytes, check: Callable[[], None]
    ) -> Prepared:
        """See :class:`Preparation`; ``suffix`` is not needed here."""
        del suffix
        parsed = self._sandbox.parse(parser, data)
        embedder = self._target.embedder

        def count(text: str) -> int:
            check()
            return embedder.count_tokens(text)

        chunks = list(split(parsed.sections, self._target.policy, count))
        if not chunks:
            raise Unreadable("holds no letter or digit")
        return Prepared(chunks, missing=parsed.missing)

    def stop(self) -> None:
        """End the sandbox with every parser in it."""
        self._sandbox.close()

    def close(self) -> None:
        """The sandbox belongs to whoever opened it."""
