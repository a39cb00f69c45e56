"""configfs-tsm as Linux has it, mounted where a test wants it; quotes come from a forged Intel."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

from support.fuse import Files, Mount, Reader, Writer
from support.hardware import intel


class FakeTsm:
    """The report folder.

    ``failures``: errno values that the next reads of ``outblob`` give, one each. ``before_read``
    is called with the entry's own writer when ``outblob`` is read: whatever it writes there races
    with the reader.
    """

    def __init__(self, provider: str = "tdx_guest") -> None:
        self.provider = provider
        self.failures: list[int] = []
        self.before_read: Callable[[Callable[[bytes], None]], None] | None = None
        self.asked: list[bytes] = []
        self.made: list[str] = []
        self.files = Files(self._make)

    @property
    def entries(self) -> list[str]:
        """The entries that exist now."""
        return sorted(self.files.folders)

    def mount(self, folder: Path) -> Mount:
        """Mount it."""
        return Mount(folder, self.files)

    def _make(self, name: str) -> dict[str, tuple[Reader, Writer]]:
        self.made.append(name)
        state: dict[str, bytes | int] = {"inblob": b"", "generation": 0}

        def write(data: bytes) -> None:
            if not 0 < len(data) <= 64:
                raise OSError(errno.EINVAL, "inblob")
            state["inblob"] = data
            state["generation"] = int(state["generation"]) + 1
            self.asked.append(data)

        def read() -> bytes:
            if self.failures:
                raise OSError(self.failures.pop(0), "outblob")
            if self.before_read is not None:
                self.before_read(write)
            data = bytes(state["inblob"])
            if len(data) != 64:
                raise OSError(errno.EINVAL, "outblob")
            return intel().quote(report_data=data) + bytes(3000)

        return {
            "provider": (lambda: f"{self.provider}\n".encode(), None),
            "generation": (lambda: f"{state['generation']}\n".encode(), None),
            "inblob": (None, write),
            "outblob": (read, None),
        }
