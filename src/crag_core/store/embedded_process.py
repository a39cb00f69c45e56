"""Which PostgreSQL process serves a data folder, whatever ``postmaster.pid`` claims."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from crag_core.errors import Unreachable

STATUS_LINE = 7
PROC = Path("/proc")


def postmaster(data: Path) -> int | None:
    """The process id that ``postmaster.pid`` names, if that process really serves ``data``.

    After a crash or a restart of the machine the file names a process that is gone, or by chance
    another program's.
    """
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="utf-8").splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if serves(pid, data) else None


def wait_ready(data: Path, seconds: float) -> None:
    """Wait until the server says in ``postmaster.pid`` that it takes connections.

    Raises:
        Unreachable: it does not within ``seconds``; it may be recovering after a crash.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            lines = (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        if len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready":
            return
        if time.monotonic() > deadline:
            raise Unreachable(
                f"The embedded database in {data} is not ready after {seconds:g} s.",
                hint="It may be recovering after a crash; the same command may be tried again.",
            )
        time.sleep(0.05)


def stop(pid: int, data: Path, seconds: float) -> None:
    """End the server: open transactions are rolled back, nobody is waited for.

    Raises:
        Unreachable: it still runs after ``seconds``.
    """
    # PostgreSQL 18 documentation, 18.5: SIGINT is the fast shutdown.
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + seconds
    while serves(pid, data):
        if time.monotonic() > deadline:
            raise Unreachable(
                f"The embedded database in {data} did not stop within {seconds:g} s.",
                hint="It is writing to a slow disk, or it is stopped; try again.",
            )
        time.sleep(0.02)


def serves(pid: int, data: Path) -> bool:
    """Whether process ``pid`` is a PostgreSQL server working in the folder ``data``."""
    process = PROC / str(pid)
    try:
        program = (process / "exe").readlink().name.removesuffix(" (deleted)")
        folder = (process / "cwd").readlink()
        return program == "postgres" and folder.samefile(data)
    except OSError:
        return False


def servers(data: Path) -> list[int]:
    """All PostgreSQL processes, of a postmaster or left over, that work in ``data``."""
    numbers = (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [pid for pid in numbers if serves(pid, data)]


def clear_stale(data: Path, socket_folder: Path, seconds: float) -> None:
    """Remove the lock files of a server that is gone, once all of its processes are.

    PostgreSQL takes a lock file for good when any process has the recorded number: another
    program's by chance, or the dead server itself where nobody collects zombies, as in many
    containers. What counts here is whether a server process works in the folder.

    Raises:
        Unreachable: processes of the dead server are still there after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while left := servers(data):
        if time.monotonic() > deadline:
            raise Unreachable(
                f"The embedded database in {data} died, and its processes {left} do not end.",
                hint="Wait until they have written what they hold, or end them; then try again.",
            )
        time.sleep(0.05)
    (data / "postmaster.pid").unlink(missing_ok=True)
    for lock in socket_folder.glob(".s.PGSQL.*"):
        lock.unlink(missing_ok=True)
