"""How long ``--help`` of each command takes: the best of several, in seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 7


def run() -> dict[str, Any]:
    """``{"help_s": {role: seconds}, "help_ratio_to_bare_python": {role: ratio}}``."""
    folder = Path(sys.executable).parent
    commands = {
        role: [str(folder / f"crag-{role}"), "--help"] for role in ("owner", "provider", "user")
    }
    commands["python"] = [sys.executable, "-c", "pass"]
    best = dict.fromkeys(commands, float("inf"))
    for _ in range(ROUNDS):
        for name, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            best[name] = min(best[name], time.perf_counter() - begun)
    bare = best.pop("python")
    return {
        "help_s": {name: round(seconds, 3) for name, seconds in best.items()},
        "help_ratio_to_bare_python": {name: seconds / bare for name, seconds in best.items()},
    }
