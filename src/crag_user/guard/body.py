"""A request body on its way: kept while it is small, so that a request can be sent once more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

REPLAY_LIMIT = 1024 * 1024


class Body:
    """Wraps ``pull``, which returns the next bytes and ``b""`` at the end."""

    def __init__(self, pull: Callable[[], Awaitable[bytes]], length: int | None) -> None:
        self.length = length
        self._pull = pull
        self._kept = bytearray()
        self._complete = length == 0
        self._streamed = False

    async def prefetch(self) -> None:
        """Read until the end, or until more than can be kept has come."""
        while not self._complete and len(self._kept) <= REPLAY_LIMIT:
            piece = await self._pull()
            self._kept += piece
            self._complete = not piece

    @property
    def replayable(self) -> bool:
        """Whether :meth:`chunks` may be iterated again."""
        return self._complete and not self._streamed

    @property
    def consumed(self) -> bool:
        """Whether nothing is left to be read from the client."""
        return self._complete

    async def chunks(self) -> AsyncIterator[bytes]:
        """The whole body, piece by piece.

        Raises:
            RuntimeError: part of it is gone because it was too large to keep.
        """
        if self._streamed:
            raise RuntimeError("this body cannot be sent twice")
        if self._kept:
            yield bytes(self._kept)
        if self._complete:
            return
        self._streamed = True
        while piece := await self._pull():
            yield piece
        self._complete = True
