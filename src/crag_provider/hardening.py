"""Close what would let this process's memory out."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import signal
from collections.abc import Iterator

_PR_SET_DUMPABLE = 4


def no_dumps() -> None:
    """No core dump of this process, and no debugger of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


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
