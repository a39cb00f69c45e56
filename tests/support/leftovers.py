"""What a command left behind: processes, mounts, listening ports."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path


def processes(marker: str) -> list[str]:
    """Command lines of living processes in whose environment or arguments ``marker`` stands."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            arguments = (folder / "cmdline").read_bytes()
            if marker.encode() in arguments + (folder / "environ").read_bytes():
                found.append(arguments.replace(b"\0", b" ").decode(errors="replace"))
    return found


def mounts(marker: str) -> list[str]:
    """Lines of the mount table in which ``marker`` stands."""
    return [line for line in Path("/proc/mounts").read_text().splitlines() if marker in line]


def listening(host: str, port: int) -> bool:
    """Whether something accepts connections at that address."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((host, port)) == 0


def free_port() -> int:
    """A loopback port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
