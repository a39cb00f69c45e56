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


def remove_stale_pid(data: Path) -> bool:
    """Remove a ``postmaster.pid`` whose server is gone; whether there was one.

    Without this PostgreSQL refuses to start when another process has the recorded number by
    chance. Nothing is removed while any server process works in the folder.
    """
    path = data / "postmaster.pid"
    if not path.exists() or servers(data):
        return False
    path.unlink(missing_ok=True)
    return True
