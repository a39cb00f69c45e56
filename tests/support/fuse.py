"""A file system of a test's own: the kernel's FUSE protocol, spoken to /dev/fuse directly.

Just enough of protocol 7.31 for a tree of small files whose reads and writes run code, as those of
configfs do. Source: Linux, include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

_HEADER = struct.Struct("<IIQQIIII")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR = 1, 2, 3, 4, 9, 10, 11
OPEN, READ, WRITE, STATFS, RELEASE, FLUSH, INIT = 14, 15, 16, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 27, 28, 29, 34, 36, 38, 42
_DIRECT_IO = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Files:
    """The tree: folders that can be made under the root, each with the same files.

    ``make(name)`` is called for a new folder and gives its files: name -> (read, write), either of
    which may be None or raise OSError, which becomes the system call's error.
    """

    def __init__(self, make: Callable[[str], dict[str, tuple[Reader, Writer]]]) -> None:
        self.make = make
        self.folders: dict[str, dict[str, tuple[Reader, Writer]]] = {}


Reader = Callable[[], bytes] | None
Writer = Callable[[bytes], None] | None


def usable() -> bool:
    """Whether this process may mount a file system of its own."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists()


def mounting(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that mounts a file system served by its own process.

    Slow: such a mount was seen to hang for ever, which no time limit of a test can end.
    """
    possible = pytest.mark.skipif(
        not usable(), reason="no file system can be mounted here (/dev/fuse as root)"
    )
    marked: Callable[..., None] = pytest.mark.slow(possible(test))
    return marked


class Mount:
    """A mounted :class:`Files`; a context manager that unmounts."""

    def __init__(self, folder: Path, files: Files) -> None:
        self.folder, self.files = folder, files
        self.nodes: dict[int, tuple[str, ...]] = {1: ()}
        self.numbers: dict[tuple[str, ...], int] = {(): 1}
        self.contents: dict[int, bytes] = {}
        self.handles = 0

    def __enter__(self) -> Mount:
        self.device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0".encode()
        done = _libc.mount(b"fake", os.fsencode(self.folder), b"fuse", 0, options)
        if done != 0:
            os.close(self.device)
            raise OSError(ctypes.get_errno(), "mount")
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        _libc.umount2(os.fsencode(self.folder), 2)
        self.thread.join(10)
        # Another mount namespace may still hold the mount: then the number must not be used again.
        if not self.thread.is_alive():
            os.close(self.device)

    def _serve(self) -> None:
        while True:
            try:
                request = os.read(self.device, 1 << 17)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.ENOENT):
                    continue
                return
            _, code, unique, node, *_ = _HEADER.unpack_from(request)
            if code in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            try:
                body, failure = self._answer(code, node, request[_HEADER.size :]), 0
            except OSError as error:
                body, failure = b"", -(error.errno or errno.EIO)
            except Exception:  # noqa: BLE001 - an unanswered request would hang for ever
                body, failure = b"", -errno.EIO
            reply = struct.pack("<IiQ", 16 + len(body), failure, unique) + body
            try:
                os.write(self.device, reply)
            except OSError:
                if code != DESTROY:
                    continue
            if code == DESTROY:
                return

    def _answer(self, code: int, node: int, body: bytes) -> bytes:
        if code == INIT:
            return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 8, 8, 65536, 1, 16, 0, 0, *[0] * 7)
        if code in (FLUSH, RELEASE, RELEASEDIR, ACCESS, DESTROY):
            return b""
        if code == STATFS:
            return bytes(80)
        path = self.nodes[node]
        if code in (GETATTR, SETATTR):
            return struct.pack("<QII", 0, 0, 0) + self._attributes(path)
        if code in (LOOKUP, MKDIR, RMDIR):
            return self._name(code, path, body)
        if code in (OPEN, OPENDIR):
            self.handles += 1
            return struct.pack("<QII", self.handles, _DIRECT_IO, 0)
        if code == READDIR:
            return b""
        return self._data(code, path, body)

    def _name(self, code: int, path: tuple[str, ...], body: bytes) -> bytes:
        raw = body[8:] if code == MKDIR else body
        child = (*path, raw.partition(b"\0")[0].decode())
        if code == MKDIR:
            if len(child) != 1 or child[0] in self.files.folders:
                raise OSError(errno.EPERM if len(child) != 1 else errno.EEXIST, "mkdir")
            self.files.folders[child[0]] = self.files.make(child[0])
        if code == RMDIR:
            if self.files.folders.pop(child[0], None) is None:
                raise OSError(errno.ENOENT, "rmdir")
            return b""
        attributes = self._attributes(child)
        number = self.numbers.setdefault(child, len(self.numbers) + 1)
        self.nodes[number] = child
        return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + attributes

    def _attributes(self, path: tuple[str, ...]) -> bytes:
        mode = 0o40755
        if path:
            folder = self.files.folders.get(path[0])
            if folder is None or (len(path) == 2 and path[1] not in folder):
                raise OSError(errno.ENOENT, "lookup")
            if len(path) == 2:
                read, write = folder[path[1]]
                mode = 0o100000 | (0o400 if read else 0) | (0o200 if write else 0)
        number = self.numbers.get(path, 0)
        return _ATTR.pack(number, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _data(self, code: int, path: tuple[str, ...], body: bytes) -> bytes:
        if len(path) != 2 or code not in (READ, WRITE):
            raise OSError(errno.ENOSYS, "operation")
        read, write = self.files.folders[path[0]][path[1]]
        handle, offset, size = struct.unpack_from("<QQI", body)
        if code == WRITE:
            if write is None:
                raise OSError(errno.EACCES, "write")
            write(body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if read is None:
            raise OSError(errno.EACCES, "read")
        if offset == 0:
            self.contents[handle] = read()
        return self.contents[handle][offset : offset + size]
