"""Keys in memory that can be overwritten, so that they don't outlive their use."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Secret:
    """Secret bytes that are zeroed by :meth:`wipe`; a context manager that does it.

    Best effort: Python and the libraries below may have made copies (of a received HTTP body, of
    a derived key) that nobody can reach. ``repr`` shows the length only.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = bytearray(data)

    @property
    def buffer(self) -> bytearray:
        """The bytes themselves; zeros after :meth:`wipe`."""
        return self._data

    def wipe(self) -> None:
        """Overwrite the bytes with zeros and forget their number."""
        self._data[:] = bytes(len(self._data))
        self._data.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return f"Secret({len(self._data)} bytes)"
