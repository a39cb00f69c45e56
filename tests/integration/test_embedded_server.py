"""The embedded server: who stops it, what a crash leaves, and as whom it runs."""

from __future__ import annotations

import os
import pwd
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.collection import Collection
from crag_core.errors import CragError
from crag_core.keys import MasterKey
from crag_core.store import embedded_process
from crag_core.store.embedded import EmbeddedServer
from crag_core.store.opening import open_store
from crag_core.store.settings import DatabaseSettings
from support.database import DIMENSION, draft, temporary_folder
from support.poll import until

EMBEDDED = DatabaseSettings()
OTHER = """
import sys
from crag_core.store.embedded import EmbeddedServer
with EmbeddedServer().lease():
    print("up", flush=True)
    sys.stdin.read()
"""


def other_program(home: Path) -> subprocess.Popen[bytes]:
    """Another program that uses the server until its stdin ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"CRAG_HOME": str(home), "PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    if process.stdout.readline() != b"up\n":
        process.kill()
        raise AssertionError("the other program did not get the server")
    return process


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A state folder that only we may enter, as in a real home."""
    with temporary_folder() as folder:
        monkeypatch.setenv("CRAG_HOME", str(folder / "home"))
        try:
            yield folder / "home"
        finally:
            EmbeddedServer().stop()


def test_no_database_given_means_the_embedded_one_and_it_ends_with_its_user(home: Path) -> None:
    key = MasterKey.generate()
    with open_store(EMBEDDED) as store:
        made = Collection.create(store, "demo", key, dimension=DIMENSION, embedder="x")
        made.put_documents([draft(made, "a.txt")])
        assert EmbeddedServer().status().running
    assert not EmbeddedServer().status().running
    assert embedded_process.servers(home / "postgres" / "data") == []
    with open_store(EMBEDDED, create=False) as store:
        assert Collection.open(store, "demo", key).verify().ok


def test_a_second_user_keeps_it_up_until_it_leaves(home: Path) -> None:
    server = EmbeddedServer()
    with server.lease() as first:
        pid = server.status().pid
        with EmbeddedServer().lease() as second:
            assert first == second
        assert server.status().pid == pid
        other = other_program(home)
    assert server.status().pid == pid, "the other program still uses it"
    other.communicate(timeout=30)
    assert not server.status().running


def test_a_killed_user_does_not_hold_it_for_ever(home: Path) -> None:
    child = other_program(home)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    with EmbeddedServer().lease():
        assert EmbeddedServer().status().running
    assert not EmbeddedServer().status().running


def test_started_to_stay_it_outlives_its_users_until_stopped(home: Path) -> None:
    server = EmbeddedServer()
    started = server.start()
    assert (started.running, started.keep) == (True, True)
    assert server.start().pid == started.pid
    with open_store(EMBEDDED):
        pass
    assert server.status().pid == started.pid
    assert str(home) in started.url
    assert server.stop()
    assert not server.status().running
    assert not server.stop()


@pytest.mark.parametrize("stale", ["other program", "no process", "garbage", "empty"])
def test_a_stale_pid_file_does_not_keep_it_down(home: Path, stale: str) -> None:
    server = EmbeddedServer()
    server.start()
    data = home / "postgres" / "data"
    lines = (data / "postmaster.pid").read_text().splitlines()
    server.stop()
    with subprocess.Popen(["/bin/sleep", "60"]) as sleeper:
        try:
            first = {"other program": str(sleeper.pid), "no process": str(2**22 - 1)}.get(
                stale, "x"
            )
            text = "" if stale == "empty" else "\n".join([first, *lines[1:]]) + "\n"
            (data / "postmaster.pid").write_text(text)
            lock = home / "postgres" / "socket" / ".s.PGSQL.5432.lock"
            lock.write_text(text)
            assert not server.status().running
            assert server.start().running
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


def test_a_killed_server_comes_back_with_its_data(home: Path) -> None:
    key = MasterKey.generate()
    server = EmbeddedServer()
    pid = server.start().pid
    assert pid is not None
    with open_store(EMBEDDED) as store:
        made = Collection.create(store, "demo", key, dimension=DIMENSION, embedder="x")
        made.put_documents([draft(made, "a.txt")])
    os.kill(pid, signal.SIGKILL)
    until(lambda: not server.status().running, 20, "the server's end")
    with open_store(EMBEDDED) as store:
        assert Collection.open(store, "demo", key).verify().ok


def test_it_listens_only_on_its_socket_and_only_we_get_there(home: Path) -> None:
    server = EmbeddedServer()
    pid = server.start().pid
    sockets = (Path("/proc") / str(pid) / "fd").iterdir()
    inodes = {
        target.removeprefix("socket:[").removesuffix("]")
        for target in (str(each.readlink()) for each in sockets)
        if target.startswith("socket:")
    }
    for table in ("tcp", "tcp6", "udp", "udp6"):
        rows = Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        listening = {row.split()[9] for row in rows}
        assert not inodes & listening
    folder = home / "postgres"
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "socket").stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "socket" / ".s.PGSQL.5432").stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.stat().st_mode) & 0o7 == 0


def test_a_long_path_gets_a_short_socket_folder(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = home / ("d" * 60) / ("e" * 60)
    monkeypatch.setenv("CRAG_HOME", str(deep))
    server = EmbeddedServer()
    try:
        with open_store(EMBEDDED) as store:
            assert store.collections() == []
            assert len(str(server.settings().host)) < 60
    finally:
        server.stop()
        socket_folder = Path(str(server.settings().host))
        assert list(socket_folder.iterdir()) == []
        socket_folder.rmdir()


def test_a_foreign_folder_in_the_place_of_the_socket_is_refused(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    deep = home / ("d" * 60) / ("f" * 60)
    monkeypatch.setenv("CRAG_HOME", str(deep))
    place = Path(str(EmbeddedServer().settings().host))
    place.symlink_to(tmp_path)
    try:
        with pytest.raises(CragError, match="belongs to somebody else"):
            EmbeddedServer().start()
    finally:
        place.unlink()


def test_a_folder_that_cannot_be_used_is_named(home: Path) -> None:
    data = home / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "something").write_text("else")
    with pytest.raises(CragError, match="cannot be set up"):
        EmbeddedServer().start()
    assert (data / "something").read_text() == "else"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
def test_root_gets_a_server_of_another_user_and_opens_no_folder_for_others(home: Path) -> None:
    home.mkdir()
    home.chmod(0o700)
    with open_store(EMBEDDED):
        pid = EmbeddedServer().status().pid
        owner = (Path("/proc") / str(pid)).stat().st_uid
        assert pwd.getpwuid(owner).pw_name == "pgserver"
    assert stat.S_IMODE(home.stat().st_mode) & 0o7 == 0
    others = subprocess.run(["/usr/bin/test", "-x", str(home)], user="nobody", check=False)
    assert others.returncode != 0
    listing = subprocess.run(["/bin/ls", str(home)], user="pgserver", check=False,
                             capture_output=True)  # fmt: skip
    assert listing.returncode != 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_rights_runs_its_own_server(home: Path) -> None:
    home.mkdir()
    with open_store(EMBEDDED):
        """Whatever is imported late is imported now: that user may not read our Python."""
    nobody = pwd.getpwnam("nobody")
    mine = home.parent / "nobodys"
    mine.mkdir()
    os.chown(mine, nobody.pw_uid, nobody.pw_gid)
    home.parent.chmod(0o711)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            os.environ["CRAG_HOME"] = str(mine / "crag")
            with open_store(EMBEDDED) as store:
                pid = EmbeddedServer().status().pid
                owner = (Path("/proc") / str(pid)).stat().st_uid
                code = 0 if owner == nobody.pw_uid and store.collections() == [] else 2
            code = code or (3 if EmbeddedServer().status().running else 0)
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_clean_environment_reaches_the_server(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAG_MASTER_KEY", "environment-secret")
    pid = EmbeddedServer().start().pid
    assert home.exists()
    content = (Path("/proc") / str(pid) / "environ").read_bytes()
    assert b"environment-secret" not in content
    assert b"CRAG_" not in content
