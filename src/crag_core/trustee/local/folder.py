"""The Trustee's folder: who may read it, how its writers take turns, and what a crash leaves."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from crag_core.config import private_dir, write_private
from crag_core.errors import BadInput

_TEMPORARY = re.compile(r"\..+\.\d+\.[0-9a-f]{8}")


class Folder:
    """A private folder (mode 0700) whose writers, in any number of processes, take turns.

    Args:
        root: the folder; made where it is missing.

    Raises:
        BadInput: it cannot be made, or belongs to somebody else.
    """

    def __init__(self, root: Path) -> None:
        self.root = private_dir(root.absolute())
        found = self.root.stat()
        if found.st_uid != os.geteuid():
            raise BadInput(
                f"The Trustee's folder {self.root} belongs to another user.",
                hint="Name a folder of your own with --dir.",
            )
        if stat.S_IMODE(found.st_mode) & 0o077:
            self.root.chmod(0o700)

    def path(self, *parts: str) -> Path:
        """A path below the folder."""
        return self.root.joinpath(*parts)

    def read(self, *parts: str) -> bytes | None:
        """The bytes of a file below the folder, or None where there is none; links are refused."""
        try:
            descriptor = os.open(self.path(*parts), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writer]:
        """Hold the folder's write lock; other writers wait. Not re-entrant.

        The kernel gives the lock back when its holder dies, however it dies.
        """
        descriptor = os.open(
            self.path("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Writer(self)
        finally:
            os.close(descriptor)


class Writer:
    """The right to change a folder; had from :meth:`Folder.writing`."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def write(self, data: bytes, *parts: str) -> None:
        """Replace a file: mode 0600, all or nothing, surviving a crash."""
        for depth in range(1, len(parts)):
            self._make_folder(self._folder.path(*parts[:depth]))
        write_private(self._folder.path(*parts), data)

    @staticmethod
    def _make_folder(path: Path) -> None:
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode=0o700)
            _flush(path.parent)

    def append(self, data: bytes, *parts: str) -> None:
        """Add to the end of a file (mode 0600) and flush it to disk."""
        descriptor = os.open(
            self._folder.path(*parts),
            os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self, *parts: str) -> bool:
        """Remove a file, surviving a crash; False where there was none."""
        path = self._folder.path(*parts)
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
        _flush(path.parent)
        return True

    def sweep(self) -> int:
        """Remove what writers that were killed left unfinished; the number of files removed.

        Whoever holds the lock is the only writer, so every unfinished file is a dead one's.
        """
        removed = 0
        for folder, _folders, names in os.walk(self._folder.root):
            for name in names:
                if _TEMPORARY.fullmatch(name):
                    Path(folder, name).unlink(missing_ok=True)
                    removed += 1
        return removed


def _flush(folder: Path) -> None:
    """Write a folder's entries to disk, so that they survive a power loss."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
