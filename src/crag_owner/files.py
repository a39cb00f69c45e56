"""Find the files that were named, and read each under limits.

Symbolic links inside a folder are not followed: a folder that somebody else fills must not be able
to pull other files of this machine in. Hidden files are left out. Anything but a regular file is
refused before it is opened for long. What is not entered is given too, so that it is reported.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from crag_owner.display import is_unicode
from crag_owner.parsing.interface import Unreadable

MIB = 1024 * 1024
_BLOCK = 256 * 1024
_LINKED = "is a symbolic link inside the folder; name the file itself"


@dataclass(frozen=True)
class Limits:
    """How much of one file is read, in bytes."""

    file: int = 64 * MIB


@dataclass(frozen=True)
class Candidate:
    """A file to read, what the collection calls it, and how many bytes it had when it was found.

    ``refused``: why it is not to be read. ``folder``: it is a folder that was not entered.
    """

    path: Path
    source: str
    refused: str = ""
    size: int = 0
    folder: bool = False


def source_name(path: Path, named: Path, base: Path | None = None) -> str:
    """What a document is called: its path from ``base``, with ``/``.

    Without ``base``: from the current folder if the file lies below it, otherwise from the folder
    that holds what was named.
    """
    absolute = _absolute(path)
    for anchor in (_absolute(base or Path()), _absolute(named).parent):
        if absolute.is_relative_to(anchor) and absolute != anchor:
            return absolute.relative_to(anchor).as_posix()
    return absolute.as_posix()


def source_prefix(folder: Path, base: Path | None = None) -> str:
    """What the sources of all files below a folder begin with; nothing if it is the base itself."""
    if _absolute(folder) == _absolute(base or Path()):
        return ""
    return source_name(folder, folder, base) + "/"


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - must not resolve links


def find(named: Iterable[Path], base: Path | None = None) -> Iterator[Candidate]:
    """Every file that ``named`` means, folders walked in sorted order.

    A name that does not exist is given too: reading it says what is wrong with it. So is a folder
    that is a link or cannot be listed.
    """
    for path in named:
        if not path.is_dir():
            yield Candidate(path, source_name(path, path, base), size=_size(path)[0])
            continue
        failed: list[OSError] = []
        for folder, folders, names in os.walk(path, onerror=failed.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                found = Path(folder) / name
                if found.is_symlink():
                    yield Candidate(found, source_name(found, path, base), _LINKED, folder=True)
            for name in sorted(names):
                if not name.startswith("."):
                    found = Path(folder) / name
                    size, linked = _size(found, follow=False)
                    refused = _LINKED if linked else ""
                    yield Candidate(found, source_name(found, path, base), refused, size)
        for error in failed:
            found = Path(error.filename)
            why = f"is a folder that cannot be listed: {error.strerror}"
            yield Candidate(found, source_name(found, path, base), why, folder=True)


def _size(path: Path, *, follow: bool = True) -> tuple[int, bool]:
    """Bytes of a regular file, 0 of anything else; and whether it is a symbolic link."""
    try:
        status = path.stat(follow_symlinks=follow)
    except OSError:
        return 0, False
    return (status.st_size if stat.S_ISREG(status.st_mode) else 0), stat.S_ISLNK(status.st_mode)


@dataclass(frozen=True)
class Corpus:
    """Every file that ``named`` means: counted once, and walked anew by whoever iterates.

    No list of them is held, so that a million files cost no memory.
    """

    named: Sequence[Path]
    base: Path | None
    files: int
    size: int

    @classmethod
    def of(cls, named: Sequence[Path], base: Path | None = None) -> Corpus:
        """Count files and bytes, for progress and the time that is left."""
        sizes = [0, 0]
        for candidate in find(named, base):
            sizes[0] += 1
            sizes[1] += candidate.size
        return cls(named, base, *sizes)

    def __iter__(self) -> Iterator[Candidate]:
        return find(self.named, self.base)


def read(candidate: Candidate, limits: Limits | None = None) -> bytes:
    """The bytes of a file; memory stays within the limits whatever the file's size.

    Raises:
        Unreadable: refused already, no regular file, not readable, empty, over the limit.
    """
    limits = limits or Limits()
    if not is_unicode(candidate.source):
        raise Unreadable("has a name that is not UTF-8")
    if candidate.refused:
        raise Unreadable(candidate.refused)
    try:
        # Not blocking: a pipe must not hold the run up before it is seen to be one.
        descriptor = os.open(candidate.path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable("is no regular file")
        if status.st_size > limits.file:
            raise Unreadable(
                f"is {status.st_size / MIB:.0f} MiB large; the limit is {limits.file / MIB:.0f} MiB"
            )
        try:
            return _bounded(stream, limits)
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from None


def _bounded(stream: RawIOBase, limits: Limits) -> bytes:
    data = bytearray()
    while block := stream.read(_BLOCK):
        data += block
        if len(data) > limits.file:
            raise Unreadable(f"is larger than {limits.file / MIB:.0f} MiB")
    if not data or data.isspace():
        raise Unreadable("is empty")
    return bytes(data)
