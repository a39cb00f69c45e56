"""What the fork server and each of its children give up, and in which order.

The filter of system calls and the resource limits are required: without them nothing is parsed. The
other layers lie behind them and are taken where the kernel grants them; ``layers`` names them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import tempfile
from pathlib import Path

from crag_owner.parsing.sandbox import seccomp
from crag_owner.parsing.sandbox.limits import SandboxLimits

NOBODY = 65534
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE = 1, 4
_CAPABILITY_VERSION_3 = 0x20080522


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def leave_network() -> list[str]:
    """Move this process into a network of its own that has no interface; children inherit it.

    An ordinary user needs a user namespace for it, which some systems forbid. Returns the layers
    that were granted.
    """
    if os.geteuid() == 0 and _libc().unshare(_CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        return ["network-namespace"]
    if _libc().unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC) == 0:
        return ["user-namespace", "network-namespace"]
    return []


def empty_root() -> int:
    """A descriptor of a folder that is empty for ever, because it is deleted already."""
    folder = tempfile.mkdtemp(prefix="crag-empty-")
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        Path(folder).rmdir()


def _leave_files(root: int) -> list[str]:
    try:
        os.fchdir(root)
        os.chroot(".")
    except OSError:
        return []
    return ["empty-root"]


def _leave_rights() -> list[str]:
    """Become nobody where this process is root, and give up every capability."""
    layers = []
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            layers.append("nobody")
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if _libc().capset(header, nothing) == 0:
        layers.append("no-capabilities")
    return layers


def _address_space() -> int:
    """Bytes that this process has mapped already, which come on top of what a file may use."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def _limit(limits: SandboxLimits, mapped: int) -> None:
    seconds = max(1, int(limits.seconds + 0.999))
    for which, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),
        (resource.RLIMIT_NOFILE, 0, 0),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
        (resource.RLIMIT_AS, mapped + limits.memory, mapped + limits.memory),
    ):
        ceiling = resource.getrlimit(which)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)
        resource.setrlimit(which, (soft, hard))


def prefer_to_die() -> None:
    """Have the kernel choose this process first when memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def close(limits: SandboxLimits, root: int, server: int) -> list[str]:
    """Lock this process in for good, and let it die with its parent.

    ``root`` is what :func:`empty_root` gave, ``server`` the parent's process id. Returns the layers
    in force beside those of the fork server.

    Raises:
        OSError: a required layer was refused; the process must parse nothing.
    """
    machine = seccomp.architecture()
    if machine is None:
        raise OSError("no filter for this machine")
    prefer_to_die()
    mapped = _address_space()
    layers = _leave_files(root)
    os.close(root)
    libc = _libc()
    _limit(limits, mapped)
    layers += _leave_rights()
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != server:  # it died before the kernel was told to say so
        raise OSError("the fork server is gone")
    seccomp.install(machine)
    return [*layers, "resource-limits", "system-call-filter"]
