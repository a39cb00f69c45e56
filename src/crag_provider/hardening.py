"""Close what would let this process's memory out."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
from collections.abc import Iterator
from pathlib import Path

_PR_SET_DUMPABLE = 4


def no_dumps() -> None:
    """No core dump of this process, and no debugger of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def swaps() -> bool:
    """Whether memory may be written to a disk; compressed memory (zram) is none."""
    try:
        lines = Path("/proc/swaps").read_text(encoding="utf-8").splitlines()[1:]
    except OSError:
        return False
    return any(line.strip() and not line.startswith("/dev/zram") for line in lines)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore SIGTERM and SIGINT for one block: taking down must be finished."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError):  # only the main thread may
            before[number] = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
