"""A file system of a test's own: the kernel's FUSE protocol, spoken to /dev/fuse directly.

Just enough of protocol 7.31 for a tree of small files whose reads and writes run code, as those of
configfs and sysfs do. It is served by a process of its own that never looks at its own mount: a
mount that its user serves can wait for itself for ever. When that process ends, however it ends,
the kernel fails everything that still waits. Source: Linux, include/uapi/linux/fuse.h.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

_HEADER = struct.Struct("<IIQQIIII")
_ATTR = struct.Struct("<QQQQQQIIIIIIIIII")
LOOKUP, FORGET, GETATTR, SETATTR, MKDIR, UNLINK, RMDIR = 1, 2, 3, 4, 9, 10, 11
OPEN, READ, WRITE, STATFS, RELEASE, FLUSH, INIT = 14, 15, 16, 17, 18, 25, 26
OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 27, 28, 29, 34, 36, 38, 42
_DIRECT_IO = 1
_DETACH = 2
_START_SECONDS = 60.0
_libc = ctypes.CDLL(None, use_errno=True)

Names = tuple[str, ...]


class Tree(Protocol):
    """What is in the file system; every method may raise OSError, the system call's error."""

    def mode(self, path: Names) -> int:
        """Type and permissions of what is at ``path``."""

    def mkdir(self, path: Names) -> None:
        """Make a folder."""

    def rmdir(self, path: Names) -> None:
        """Remove a folder."""

    def read(self, path: Names) -> bytes:
        """The whole content of a file, at the first read after opening it."""

    def write(self, path: Names, data: bytes) -> None:
        """One write to a file."""

    def told(self, command: dict[str, Any]) -> Any:
        """Answer what the test says to the tree."""


def usable() -> bool:
    """Whether this process may mount a file system of its own."""
    return os.geteuid() == 0 and Path("/dev/fuse").exists()


def mounting(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that mounts a file system."""
    marked: Callable[..., None] = pytest.mark.skipif(
        not usable(), reason="no file system can be mounted here (/dev/fuse as root)"
    )(test)
    return marked


class Mount:
    """A tree that ``python -m MODULE FOLDER`` serves; a context manager that ends and unmounts."""

    def __init__(self, folder: Path, module: str) -> None:
        self.folder, self.module = folder, module

    def __enter__(self) -> Mount:
        self.process = subprocess.Popen(
            [sys.executable, "-m", self.module, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        try:
            self._answer()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process.stdout.close()
        # Of a server that was killed the mount is left, dead.
        _libc.umount2(os.fsencode(self.folder), _DETACH)

    def tell(self, **command: Any) -> Any:
        """What the tree answers to ``command``."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], _START_SECONDS)
        line = self.process.stdout.readline() if readable else b""
        assert line, f"the file system of {self.module} does not answer"
        return json.loads(line)


def serve(folder: Path, tree: Tree) -> None:
    """Mount ``tree`` on ``folder`` and serve it until standard input ends."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
    if _libc.mount(b"fake", os.fsencode(folder), b"fuse", 0, options) != 0:
        raise OSError(ctypes.get_errno(), "mount")
    try:
        print("true", flush=True)  # noqa: T201 - the protocol of Mount
        server = _Server(device, tree)
        while server.step():
            pass
    finally:
        # The other order would wait for an answer of our own.
        os.close(device)
        _libc.umount2(os.fsencode(folder), _DETACH)


class _Server:
    def __init__(self, device: int, tree: Tree) -> None:
        self.device, self.tree = device, tree
        self.nodes: dict[int, Names] = {1: ()}
        self.numbers: dict[Names, int] = {(): 1}
        self.contents: dict[int, bytes] = {}
        self.handles = 0
        self.pending = b""

    def step(self) -> bool:
        """Handle what has come in; False once the test is done with the mount."""
        readable, _, _ = select.select([self.device, 0], [], [])
        if self.device in readable and not self._request():
            return False
        return 0 not in readable or self._command()

    def _command(self) -> bool:
        got = os.read(0, 1 << 16)
        self.pending += got
        while b"\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\n")
            print(json.dumps(self.tree.told(json.loads(line))), flush=True)  # noqa: T201
        return bool(got)

    def _request(self) -> bool:
        try:
            request = os.read(self.device, 1 << 18)
        except OSError as error:
            return error.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN)
        _, code, unique, node, *_ = _HEADER.unpack_from(request)
        if code in (FORGET, BATCH_FORGET, INTERRUPT):
            return True
        try:
            body, failure = self._answer(code, node, request[_HEADER.size :]), 0
        except OSError as error:
            body, failure = b"", -(error.errno or errno.EIO)
        except Exception:  # noqa: BLE001 - an unanswered request would wait for ever
            body, failure = b"", -errno.EIO
        with contextlib.suppress(OSError):
            os.write(self.device, struct.pack("<IiQ", 16 + len(body), failure, unique) + body)
        return code != DESTROY

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
        if code not in (READ, WRITE):
            raise OSError(errno.ENOSYS, "operation")
        return self._data(code, path, body)

    def _name(self, code: int, path: Names, body: bytes) -> bytes:
        raw = body[8:] if code == MKDIR else body
        child = (*path, raw.partition(b"\0")[0].decode())
        if code == RMDIR:
            self.tree.rmdir(child)
            return b""
        if code == MKDIR:
            self.tree.mkdir(child)
        attributes = self._attributes(child)
        number = self.numbers.setdefault(child, len(self.numbers) + 1)
        self.nodes[number] = child
        return struct.pack("<QQQQII", number, 0, 0, 0, 0, 0) + attributes

    def _attributes(self, path: Names) -> bytes:
        mode = self.tree.mode(path)
        number = self.numbers.get(path, 0)
        return _ATTR.pack(number, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def _data(self, code: int, path: Names, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        if code == WRITE:
            self.tree.write(path, body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if offset == 0:
            self.contents[handle] = self.tree.read(path)
        return self.contents[handle][offset : offset + size]
