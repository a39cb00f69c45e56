"""Start a program that never outlives us, and hand it files that exist only in memory."""

from __future__ import annotations

import ctypes
import fcntl
import functools
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@functools.cache
def _forker() -> ThreadPoolExecutor:
    """The one thread that forks.

    The kernel sends the parent-death signal when the *thread* that forked ends; a thread of ours
    that lives as long as the process makes the caller's thread irrelevant.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="crag-fork")


def _tie_to_parent() -> Callable[[], None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def in_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(127)

    return in_child


def memory_file(name: str, data: bytes) -> int:
    """A sealed, read-only file in memory that holds ``data``; the caller closes the descriptor."""
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(descriptor, data)
    seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
    return descriptor


def inherited_path(descriptor: int) -> str:
    """The path under which a child that inherits ``descriptor`` opens it."""
    return f"/proc/self/fd/{descriptor}"


def spawn(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    pass_fds: Iterable[int] = (),
    merge_stderr: bool = True,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` with nothing but ``env``, killed by the kernel when this process dies.

    The child has a session of its own, so that Ctrl-C reaches only us and we end it in order.
    stdin is empty; stdout (with stderr, unless ``merge_stderr`` is false) is a pipe.

    Raises:
        OSError: the program cannot be started.
    """

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(word) for word in argv],
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_stderr else subprocess.DEVNULL,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
            preexec_fn=_tie_to_parent(),
        )

    return _forker().submit(start).result()
