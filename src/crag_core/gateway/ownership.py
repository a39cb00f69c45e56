"""Whether a listening port is held by the process we started.

Free ports are found by asking the kernel and letting go again; another user of the machine could
take one in between and would then receive what is meant for TNG, in the clear.
"""

from __future__ import annotations

from pathlib import Path

from crag_core.gateway.endpoint import Endpoint

_LISTEN = "0A"


def listens(pid: int, endpoint: Endpoint) -> bool:
    """Whether process ``pid`` holds the socket that listens on ``endpoint``'s port.

    Reads ``/proc``; false also when someone else listens on the same port on another address.
    """
    inodes = _listening_inodes(endpoint.port)
    return bool(inodes) and inodes <= _socket_inodes(pid)


def listeners(port: int) -> set[int]:
    """The users (uid) whose processes listen on ``port``, on any address; empty for nobody."""
    return {int(columns[7]) for columns in _listening(port)}


def _listening_inodes(port: int) -> set[str]:
    return {columns[9] for columns in _listening(port)}


def _listening(port: int) -> list[list[str]]:
    """The kernel's lines about sockets that listen on ``port``, in columns."""
    found: list[list[str]] = []
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            columns = line.split()
            if columns[3] == _LISTEN and int(columns[1].rpartition(":")[2], 16) == port:
                found.append(columns)
    return found


def _socket_inodes(pid: int) -> set[str]:
    found: set[str] = set()
    try:
        descriptors = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return found
    for descriptor in descriptors:
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            found.add(target[len("socket:[") : -1])
    return found
