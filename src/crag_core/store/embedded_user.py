"""Root may not run PostgreSQL: a user without rights does, and gets the way to its folder opened.

The way is opened as little as possible: an access control entry that lets this one user pass
through a folder (not list it), or, where the file system has no such entries, the "execute" bit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from crag_core.errors import NotSupported

SYSTEM_USER = "pgserver"
CLEAN_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "TZ": "UTC"}

_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_UNDEFINED = 0xFFFFFFFF
_ENTRY = struct.Struct("<HHI")


@dataclass(frozen=True)
class Account:
    """The user that runs the server; ``switch`` when it is another one than ours."""

    uid: int
    gid: int
    switch: bool

    def run(self, arguments: list[str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a program as this user, in ``/``, with nothing of our environment."""
        # The daemon inherits no pipe of ours, or reading its output would never end.
        return subprocess.run(
            arguments,
            cwd="/",
            env=CLEAN_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            text=True,
            check=False,
            start_new_session=True,
            user=self.uid if self.switch else None,
            group=self.gid if self.switch else None,
            extra_groups=[] if self.switch else None,
        )

    def own(self, path: Path) -> None:
        """Give ``path`` to this user."""
        if self.switch:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path, how: str = "-x") -> bool:
        """Whether this user may use ``path`` (``test -x``, ``-r``)."""
        try:
            return self.run(["/usr/bin/test", how, str(path)], 10).returncode == 0
        except OSError:
            return False


def account() -> Account:
    """Ourselves, or for root the user ``pgserver``, made where it is missing.

    Raises:
        NotSupported: there is no such user and none can be made.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), switch=False)
    found = _lookup() or _create()
    return Account(found.pw_uid, found.pw_gid, switch=True)


def open_way(user: Account, path: Path) -> None:
    """Let ``user`` pass through every folder above ``path``, where it cannot yet.

    Raises:
        NotSupported: a folder's permissions cannot be changed.
    """
    if not user.switch or user.reaches(path):
        return
    for folder in reversed(path.parents):
        if not user.reaches(folder):
            _allow_passing(folder, user.uid)


def _lookup() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        # Another program may be making it at this moment: what counts is whether it exists then.
        subprocess.run(
            [*command, SYSTEM_USER],
            env=CLEAN_ENVIRONMENT,
            capture_output=True,
            timeout=30,
            check=False,
        )
    found = _lookup()
    if found is None:
        raise NotSupported(
            f"PostgreSQL does not run as root, and the user {SYSTEM_USER} cannot be made.",
            hint=f"Run `useradd --system {SYSTEM_USER}`, run crag as another user than root, "
            "or name a database with -H.",
        )
    return found


def _allow_passing(folder: Path, uid: int) -> None:
    try:
        os.setxattr(folder, _ACL, _with_entry(folder, uid))
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL):
            raise _refused(folder, error) from error
        try:
            folder.chmod(stat.S_IMODE(folder.stat().st_mode) | stat.S_IXOTH)
        except OSError as failure:
            raise _refused(folder, failure) from failure


def _refused(folder: Path, error: OSError) -> NotSupported:
    return NotSupported(
        f"The user {SYSTEM_USER} cannot be let through the folder {folder}: {error.strerror}.",
        hint="Choose another folder with CRAG_HOME, or name a database with -H.",
    )


def _with_entry(folder: Path, uid: int) -> bytes:
    """The folder's access control list (POSIX.1e draft 17, Linux's xattr form) with one more."""
    mode = stat.S_IMODE(folder.stat().st_mode)
    entries = {
        (_USER_OBJ, _UNDEFINED): mode >> 6 & 7,
        (_GROUP_OBJ, _UNDEFINED): mode >> 3 & 7,
        (_OTHER, _UNDEFINED): mode & 7,
    }
    try:
        raw = os.getxattr(folder, _ACL)
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
    else:
        entries = {(tag, who): bits for tag, bits, who in _ENTRY.iter_unpack(raw[4:])}
    mask = entries.get((_MASK, _UNDEFINED), entries[(_GROUP_OBJ, _UNDEFINED)])
    entries[(_MASK, _UNDEFINED)] = mask | 1
    entries[(_USER, uid)] = entries.get((_USER, uid), 0) | 1
    listed = (_ENTRY.pack(tag, bits, who) for (tag, who), bits in sorted(entries.items()))
    return struct.pack("<I", _ACL_VERSION) + b"".join(listed)
