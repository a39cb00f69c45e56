"""Children that end with us: started without a shell, told secrets by pipe, stopped in order."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

STOP_SECONDS = 5.0

# Runs in the child before the program: the kernel sends the signal when our process dies.
_TRAMPOLINE = """
import ctypes, os, sys
parent, number = int(sys.argv[1]), int(sys.argv[2])
if ctypes.CDLL(None).prctl(1, number, 0, 0, 0) != 0 or os.getppid() != parent:
    os._exit(125)
os.execvp(sys.argv[3], sys.argv[3:])
"""

_BEFORE = (sys.executable, "-I", "-S", "-c", _TRAMPOLINE)


@functools.cache
def _starter() -> ThreadPoolExecutor:
    # The kernel ties the signal to the thread that forked, so one that never ends does it.
    return ThreadPoolExecutor(1, thread_name_prefix="crag-starter")


def clean_environment(**more: str) -> dict[str, str]:
    """A child's environment: where programs are and which language, nothing else of ours."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {"LC_ALL": "C.UTF-8", **kept, **more}


def start(
    argv: Sequence[str],
    *,
    given: bytes | bytearray = b"",
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    environment: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    at_our_death: signal.Signals = signal.SIGKILL,
    keep_stdin: bool = False,
) -> subprocess.Popen[bytes]:
    """Start ``argv`` and write ``given`` to its standard input.

    Args:
        given: secrets or configuration; must fit a pipe (64 kB).
        environment: all the variables it gets; :func:`clean_environment` by default.
        at_our_death: what the kernel sends it when this process dies in whatever way.
        keep_stdin: leave its standard input open, as a sign of life.

    Raises:
        OSError: the program cannot be started.
    """

    def fork() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*_BEFORE, str(os.getpid()), str(int(at_our_death)), *argv],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=dict(clean_environment() if environment is None else environment),
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )

    process = _starter().submit(fork).result()
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(given)
            process.stdin.flush()
        if not keep_stdin:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdin = None
    return process


def stop(process: subprocess.Popen[bytes], seconds: float = STOP_SECONDS) -> None:
    """End ``process`` by SIGTERM, after ``seconds`` by SIGKILL; harmless where it has ended."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
