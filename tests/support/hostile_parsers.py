"""Parsers that do what a hostile file might make a library do; known only to a test's sandbox."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable


class Hostile:
    """Runs one function on the file's bytes; what it returns is the document's text."""

    suffixes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def __init__(self, act: Callable[[bytes], str]) -> None:
        self.name = act.__name__.strip("_")
        self._act = act

    def parse(self, data: bytes) -> ParsedDocument:
        return ParsedDocument([Section(self._act(data))])


def _errno(error: OSError) -> str:
    return f"errno {error.errno}"


def echo(data: bytes) -> str:
    return data.decode()


def loop(_data: bytes) -> str:
    while True:
        pass


def sleep(_data: bytes) -> str:
    time.sleep(3600)
    return "awake"


def hog(_data: bytes) -> str:
    kept = []
    while True:
        kept.append(bytearray(16 * 1024 * 1024))


def leave_without_a_word(_data: bytes) -> str:
    os._exit(0)


def segfault(_data: bytes) -> str:
    return str(ctypes.string_at(0))


def recurse(data: bytes) -> str:
    return recurse(data)


def raise_with_the_text(data: bytes) -> str:
    raise ValueError(data.decode())


def refuse_with_escapes(_data: bytes) -> str:
    raise Unreadable("is \x1b[2Jodd\n")


def flood(_data: bytes) -> str:
    return "x\n" * (200 * 1024 * 1024)


def connect(_data: bytes) -> str:
    socket.create_connection(("127.0.0.1", 9), timeout=5)
    return "connected"


def execute(_data: bytes) -> str:
    os.execv("/bin/sh", ["sh", "-c", "true"])  # noqa: S606


def trace(_data: bytes) -> str:
    return str(ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0))


def spawn(_data: bytes) -> str:
    try:
        return str(subprocess.run(["/bin/true"], check=False).returncode)
    except OSError as error:
        return _errno(error)


def fork(_data: bytes) -> str:
    try:
        os.fork()
    except OSError as error:
        return _errno(error)
    return "forked"


def thread(_data: bytes) -> str:
    try:
        threading.Thread(target=time.sleep).start()
    except RuntimeError:
        return "refused"
    return "threaded"


def read_file(data: bytes) -> str:
    try:
        return Path(data.decode()).read_text()
    except OSError as error:
        return _errno(error)


def stat_file(data: bytes) -> str:
    try:
        return str(Path(data.decode()).stat().st_size)
    except OSError as error:
        return _errno(error)


def write_file(data: bytes) -> str:
    try:
        Path(data.decode()).write_text("written")
    except OSError as error:
        return _errno(error)
    return "written"


def unlink_file(data: bytes) -> str:
    try:
        Path(data.decode()).unlink()
    except OSError as error:
        return _errno(error)
    return "gone"


def kill_the_server(_data: bytes) -> str:
    try:
        os.kill(os.getppid(), signal.SIGKILL)
    except OSError as error:
        return _errno(error)
    return "killed"


def executable_memory(_data: bytes) -> str:
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError as error:
        return _errno(error)
    return "mapped"


def _answer(data: bytes) -> None:
    """Past the sandbox's own code, straight to the parent."""
    for number in range(3, 64):
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(number, data) :]


def flood_raw(_data: bytes) -> str:
    while True:
        _answer(b"x" * 1024 * 1024)


def answer_raw(data: bytes) -> str:
    _answer(data)
    os._exit(0)


def surroundings(_data: bytes) -> str:
    """What a child knows: environment, user, and which descriptors are open."""
    descriptors = []
    for number in range(3, 64):
        try:
            os.lseek(number, 0, os.SEEK_CUR)
        except OSError as error:
            if error.errno != 9:
                descriptors.append(number)
        else:
            descriptors.append(number)
    return f"{sorted(os.environ)} {os.geteuid()} {len(descriptors)}"


PARSERS = tuple(
    Hostile(act)
    for act in (
        echo, loop, sleep, hog, leave_without_a_word, segfault, recurse, raise_with_the_text,
        refuse_with_escapes, flood, connect, execute, trace, spawn, fork, thread, read_file,
        stat_file, write_file, unlink_file, kill_the_server, executable_memory,
        flood_raw, answer_raw, surroundings,
    )
)  # fmt: skip
BY_NAME = {parser.name: parser for parser in PARSERS}
