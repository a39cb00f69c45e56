"""Mount a gocryptfs volume read-only through FUSE, for as long as we live."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from crag_core.config import private_dir
from crag_core.errors import BadInput, CragError, NotSupported, Unreachable
from crag_provider.model.volume_format import wrong_password
from crag_provider.processes import start, stop

MOUNT_SECONDS = 30.0
_WRONG_PASSWORD = 12
_MOUNTINFO = Path("/proc/self/mountinfo")


def fuse_missing() -> str:
    """What this machine lacks for FUSE mounts, in words; empty where nothing is missing."""
    if shutil.which("gocryptfs") is None:
        return "the program gocryptfs"
    if shutil.which("fusermount3") is None and shutil.which("fusermount") is None:
        return "the program fusermount3"
    device = Path("/dev/fuse")
    if not device.is_char_device():
        return "/dev/fuse"
    try:
        os.close(os.open(device, os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse ({error.strerror})"
    return ""


@contextlib.contextmanager
def mounted(
    volume: Path,
    password: bytes | bytearray,
    mount_point: Path,
    *,
    writable: bool = False,
    seconds: float = MOUNT_SECONDS,
) -> Iterator[Path]:
    """The plaintext of ``volume`` at ``mount_point``, for one block; unmounted afterwards.

    gocryptfs gets the password through a pipe and runs as our child: when we die in whatever way,
    the kernel tells it to unmount and end.

    Raises:
        BadInput: something is mounted there, or the folder holds files.
        IntegrityViolated: the password doesn't open the volume.
        NotSupported: the machine has no FUSE or doesn't permit mounting.
        Unreachable: no mount within ``seconds``.
    """
    missing = fuse_missing()
    if missing:
        raise NotSupported(
            f"A volume cannot be mounted here: {missing} is missing.",
            hint="Install gocryptfs and fuse3 and give this machine /dev/fuse.",
        )
    point = usable_point(mount_point)
    _require_empty(point)
    errors = os.memfd_create("gocryptfs-messages", os.MFD_CLOEXEC)
    try:
        process = start(
            ["gocryptfs", "-fg", "-nosyslog", "-quiet", "-nosuid", "-nodev", "-noexec"]
            + ([] if writable else ["-ro"])
            + ["--", str(volume.absolute()), str(point)],
            given=password + b"\n",
            stderr=errors,
            at_our_death=signal.SIGTERM,
        )
        try:
            _await_mount(process, point, errors, seconds)
            yield point
        finally:
            _unmount(process, point)
    finally:
        os.close(errors)


def usable_point(wanted: Path) -> Path:
    """``wanted`` as the kernel names it, made where it is missing, no dead mount on it.

    Raises:
        BadInput: it cannot be made.
    """
    point = Path(os.path.realpath(wanted))
    clear_stale(point)
    return private_dir(point)


def _require_empty(point: Path) -> None:
    if is_mounted(point):
        raise BadInput(
            f"Something is mounted at {point} already.",
            hint="End the other service, or name another folder with --mount-point.",
        )
    if any(point.iterdir()):
        raise BadInput(
            f"The mount point {point} is not empty.",
            hint="Name an empty or new folder with --mount-point.",
        )


def _await_mount(
    process: subprocess.Popen[bytes], point: Path, errors: int, seconds: float
) -> None:
    deadline = time.monotonic() + seconds
    while not is_mounted(point):
        try:
            code = process.wait(0.02)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise Unreachable(
                    f"The model's volume was not mounted within {seconds:g} s.",
                    hint="The machine may be overloaded; try again.",
                ) from None
            continue
        raise _failed(code, errors)


def _failed(code: int, errors: int) -> CragError:
    if code == _WRONG_PASSWORD:
        return wrong_password()
    size = os.lseek(errors, 0, os.SEEK_END)
    text = os.pread(errors, 2000, max(0, size - 2000)).decode(errors="replace")
    said = " ".join(text.split())[-300:]
    if "fusermount" in text or "/dev/fuse" in text or "fuse:" in text.lower():
        return NotSupported(
            f"This machine does not permit mounting the model's volume: {said}",
            hint="Allow FUSE mounts, or use --model-access memory.",
        )
    return BadInput(
        f"gocryptfs could not open the model's volume (exit status {code}): {said}",
        hint="Name the folder that 'crag-provider model encrypt' made.",
    )


def _unmount(process: subprocess.Popen[bytes], point: Path) -> None:
    stop(process)
    if is_mounted(point):
        _lazily(point)


def is_mounted(point: Path) -> bool:
    """Whether something is mounted exactly at ``point``, whether it answers or not."""
    return _filesystem(point) is not None


def _filesystem(point: Path) -> str | None:
    """Type of the topmost filesystem mounted at ``point``, from the kernel's table."""
    wanted = str(point)
    found = None
    for line in _MOUNTINFO.read_text(encoding="utf-8", errors="replace").splitlines():
        before, _, after = line.partition(" - ")
        if _unescape(before.split(" ")[4]) == wanted:
            found = after.split(" ")[0]
    return found


def _unescape(text: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def clear_stale(point: Path) -> bool:
    """Remove a dead gocryptfs mount that a crash left at ``point``; whether there was one."""
    kind = _filesystem(point)
    if kind is None or "gocryptfs" not in kind:
        return False
    try:
        next(point.iterdir(), None)
    except OSError:
        _lazily(point)
        return True
    return False


def _lazily(point: Path) -> None:
    for argv in (["fusermount3", "-uz"], ["fusermount", "-uz"], ["umount", "-l"]):
        if shutil.which(argv[0]) is None:
            continue
        done = subprocess.run([*argv, str(point)], capture_output=True, check=False, timeout=10)
        if done.returncode == 0:
            return
