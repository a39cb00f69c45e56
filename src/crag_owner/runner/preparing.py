"""What a worker does with one file, without any key: parse, cut, embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from types import TracebackType
from typing import TYPE_CHECKING, Any

from crag_owner.chunking import Chunk, ChunkingPolicy, split
from crag_owner.parsing import Unreadable, parser_for
from crag_owner.parsing.sandbox import ParsingSandbox, SandboxLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EMBED_AT_ONCE = 16


@dataclass(frozen=True)
class Assignment:
    """What every worker is told once.

    Args:
        profile: ``embedder`` and ``embedding`` of the collection's private profile.
        chunking: how texts are cut, as :meth:`ChunkingPolicy.as_json` gives it.
        limits: of the parsing sandbox.
        url: of an embedding server.
        api_key: its bearer token; reaches the workers by memory only.
        threads: of a built-in embedder, or requests at once to a server.
    """

    profile: Mapping[str, Any]
    chunking: Mapping[str, Any]
    limits: SandboxLimits
    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    threads: int = 1


@dataclass(frozen=True)
class Prepared:
    """A file's chunks, their vectors, float32[n, d], and what is ``missing`` of it; or
    ``refused``, why there are none.
    """

    chunks: Sequence[Chunk] = field(default=(), repr=False)
    vectors: NDArray[np.float32] | None = field(default=None, repr=False)
    refused: str = ""
    missing: str = ""


class Preparer:
    """Parses in a sandbox of its own and embeds with an embedder of its own.

    Args:
        assignment: see there.

    Raises:
        CragError: the embedder cannot be opened.
    """

    def __init__(self, assignment: Assignment) -> None:
        from crag_core.embedding import open_embedder_for

        self._policy = ChunkingPolicy.from_json(assignment.chunking)
        self._embedder = open_embedder_for(
            assignment.profile,
            url=assignment.url,
            api_key=assignment.api_key,
            workers=assignment.threads,
        )
        self._sandbox = ParsingSandbox(assignment.limits)

    def prepare(self, suffix: str, data: bytes) -> Prepared:
        """Chunks and vectors of one file.

        Args:
            suffix: the ending of its name, which chooses the parser.
            data: its bytes.

        Raises:
            Unreachable: an embedding server does not answer.
        """
        import numpy as np

        parser = parser_for(PurePath(f"file{suffix}"))
        if parser is None:
            return Prepared(refused=f"has a format that is not read ({suffix or 'no ending'})")
        try:
            parsed = self._sandbox.parse(parser, data)
        except Unreadable as refused:
            return Prepared(refused=refused.reason)
        chunks = list(split(parsed.sections, self._policy, self._embedder.count_tokens))
        if not chunks:
            return Prepared(refused="holds no letter or digit")
        vectors = [
            self._embedder.passages([chunk.embedded for chunk in chunks[at : at + EMBED_AT_ONCE]])
            for at in range(0, len(chunks), EMBED_AT_ONCE)
        ]
        return Prepared(chunks, np.concatenate(vectors), missing=parsed.missing)

    def close(self) -> None:
        """End the sandbox and the embedder."""
        self._sandbox.close()
        self._embedder.close()

    def __enter__(self) -> Preparer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
