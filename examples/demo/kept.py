"""What ``--keep`` leaves up, remembered so that ``--stop`` can end it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from parties import Party, Server, stop_pid

MEMORY = Path(__file__).resolve().parents[2] / ".crag" / "demo.json"


def remember(root: Path, servers: Sequence[Server]) -> None:
    """Write down which processes and which folder the demo leaves behind."""
    MEMORY.parent.mkdir(exist_ok=True)
    processes = [
        {"pid": server.process.pid, "started": _started(server.process.pid)} for server in servers
    ]
    MEMORY.write_text(json.dumps({"root": str(root), "processes": processes}))


def stop() -> bool:
    """End what an earlier demo left up, newest first; False if there was nothing."""
    if not MEMORY.is_file():
        return False
    memory = json.loads(MEMORY.read_text())
    for process in reversed(memory["processes"]):
        pid, started = process["pid"], process["started"]
        # A pid is used again after a while: only end the process that we started.
        if _started(pid) == started:
            stop_pid(pid, partial(_is_the_one, started))
    root = Path(memory["root"])
    if root.is_dir():
        Party("owner", root / "owner").run("database", "stop")
        shutil.rmtree(root, ignore_errors=True)
    MEMORY.unlink()
    return True


def _is_the_one(started: str, pid: int) -> bool:
    return _started(pid) == started


def _started(pid: int) -> str:
    """The start time of a living process in clock ticks (proc(5), stat field 22), or ""."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = text.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]
