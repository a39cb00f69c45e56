"""The way to the embedded server's folder is opened for one user and no wider."""

from __future__ import annotations

import os
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from crag_core.errors import NotSupported
from crag_core.store import embedded_user
from crag_core.store.embedded_user import Account, account, open_way
from support.database import temporary_folder

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")
STRANGER = 54321


def entries(folder: Path) -> dict[tuple[int, int], int]:
    raw = os.getxattr(folder, "system.posix_acl_access")
    assert struct.unpack("<I", raw[:4]) == (2,)
    return {(tag, who): bits for tag, bits, who in struct.iter_unpack("<HHI", raw[4:])}


def can_pass(folder: Path, uid: int) -> bool:
    done = subprocess.run(["/usr/bin/test", "-x", str(folder)], user=uid, group=uid,
                          extra_groups=[], check=False)  # fmt: skip
    return done.returncode == 0


@root_only
def test_only_that_user_may_pass_and_not_list() -> None:
    with temporary_folder() as folder:
        deep = folder / "a" / "b"
        deep.mkdir(parents=True)
        for each in (folder, folder / "a"):
            each.chmod(0o700)
        user = Account(STRANGER, STRANGER, switch=True)
        assert not user.reaches(deep)
        open_way(user, deep)
        assert user.reaches(deep)
        assert entries(folder)[(0x02, STRANGER)] == 1
        assert not can_pass(folder, STRANGER + 1)
        assert not user.reaches(folder / "a", "-r")
        assert stat.S_IMODE(folder.stat().st_mode) & 0o7 == 0


@root_only
def test_entries_of_others_are_kept() -> None:
    with temporary_folder() as folder:
        (folder / "a").mkdir()
        folder.chmod(0o750)
        open_way(Account(STRANGER, STRANGER, switch=True), folder / "a")
        open_way(Account(STRANGER + 1, STRANGER + 1, switch=True), folder / "a")
        found = entries(folder)
        assert found[(0x02, STRANGER)] == found[(0x02, STRANGER + 1)] == 1
        assert found[(0x01, 2**32 - 1)] == 7
        assert found[(0x04, 2**32 - 1)] == 5
        assert found[(0x20, 2**32 - 1)] == 0


@root_only
def test_a_file_system_without_such_entries_gets_the_execute_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import errno

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    with temporary_folder() as folder:
        (folder / "a").mkdir()
        folder.chmod(0o700)
        monkeypatch.setattr(embedded_user.os, "setxattr", refuse)
        open_way(Account(STRANGER, STRANGER, switch=True), folder / "a")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o701


@root_only
def test_a_folder_that_cannot_be_opened_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with temporary_folder() as folder:
        (folder / "a").mkdir()
        folder.chmod(0o700)
        monkeypatch.setattr(embedded_user.os, "setxattr", refuse)
        with pytest.raises(NotSupported, match=folder.name):
            open_way(Account(STRANGER, STRANGER, switch=True), folder / "a")


def test_whoever_is_not_root_runs_it_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_user.os, "geteuid", lambda: 1234)
    monkeypatch.setattr(embedded_user.os, "getegid", lambda: 1235)
    assert account() == Account(1234, 1235, switch=False)


def test_a_machine_where_the_user_cannot_be_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_user.os, "geteuid", lambda: 0)
    monkeypatch.setattr(embedded_user, "SYSTEM_USER", "no-such-user")
    # A machine without useradd.
    monkeypatch.setattr(embedded_user, "CLEAN_ENVIRONMENT", {"PATH": "/nonexistent"})
    with pytest.raises(NotSupported, match="no-such-user"):
        account()
