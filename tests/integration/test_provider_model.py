"""The model at rest with the real gocryptfs: written by one, read by the other, gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crag_core.errors import BadInput, IntegrityViolated
from crag_provider.model import encryption
from crag_provider.model.encryption import encrypt, new_password
from crag_provider.model.mount import clear_stale, fuse_missing, is_mounted, mounted
from crag_provider.model.opening import open_model
from crag_provider.secret import Secret
from support.poll import until
from support.provider import Provider, gone

fuse = pytest.mark.skipif(bool(fuse_missing()), reason=f"no FUSE here: {fuse_missing()} is missing")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "weights.gguf").write_bytes(os.urandom(10_000))
    (folder / "empty").write_bytes(b"")
    (folder / "tokenizer" / ("长" * 80)).write_bytes(os.urandom(8192))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".crag")
    }


@pytest.mark.parametrize("writer", [pytest.param("gocryptfs", marks=fuse), "crag-provider"])
@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_every_writer_is_understood_by_every_reader(
    source: Path, tmp_path: Path, writer: str, access: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if writer == "crag-provider":
        monkeypatch.setattr(encryption, "fuse_missing", lambda: "nothing, but say so")
    volume, point = tmp_path / "volume", tmp_path / "point"
    with new_password() as password:
        assert encrypt(source, volume, password).tool == writer
        with open_model(volume, password.buffer, point, access) as model:
            assert model.access == access
            assert contents(model.folder) == contents(source)
    assert not is_mounted(point) and not list(point.iterdir())


@fuse
def test_gocryptfs_itself_mounts_what_we_write(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "fuse_missing", lambda: "nothing, but say so")
    volume = tmp_path / "volume"
    encrypt(source, volume, Secret(b"word"))
    checked = subprocess.run(
        ["gocryptfs", "-fsck", "-nosyslog", str(volume)],
        input=b"word\n",
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@fuse
def test_a_mount_is_read_only(source: Path, tmp_path: Path) -> None:
    with new_password() as password:
        encrypt(source, tmp_path / "volume", password)
        with (
            open_model(tmp_path / "volume", password.buffer, tmp_path / "point", "fuse") as model,
            pytest.raises(OSError, match="Read-only"),
        ):
            (model.folder / "new").write_bytes(b"")


def test_plaintext_in_memory_cannot_be_written_and_has_no_file(
    source: Path, tmp_path: Path
) -> None:
    with new_password() as password:
        encrypt(source, tmp_path / "volume", password)
        point = tmp_path / "point"
        with open_model(tmp_path / "volume", password.buffer, point, "memory") as model:
            assert all(path.is_symlink() for path in point.rglob("*") if not path.is_dir())
            with pytest.raises(OSError, match="not permitted"):
                os.write(os.open(model.folder / "weights.gguf", os.O_RDWR), b"x")


@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_a_wrong_key_mounts_nothing(source: Path, tmp_path: Path, access: str) -> None:
    with new_password() as password, new_password() as other:
        encrypt(source, tmp_path / "volume", password)
        with (
            pytest.raises(IntegrityViolated) as refused,
            open_model(tmp_path / "volume", other.buffer, tmp_path / "point", access),
        ):
            raise AssertionError("it opened")
    assert refused.value.exit_code == 12
    assert not is_mounted(tmp_path / "point")


@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_a_file_taken_out_of_the_volume_is_noticed(
    source: Path, tmp_path: Path, access: str
) -> None:
    volume = tmp_path / "volume"
    with new_password() as password:
        encrypt(source, volume, password)
        max(volume.iterdir(), key=lambda path: path.stat().st_size).unlink()
        with (
            pytest.raises(IntegrityViolated, match=r"weights\.gguf is missing"),
            open_model(volume, password.buffer, tmp_path / "point", access),
        ):
            raise AssertionError("it opened")
    assert not is_mounted(tmp_path / "point")


@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_a_changed_byte_is_noticed(source: Path, tmp_path: Path, access: str) -> None:
    volume = tmp_path / "volume"
    with new_password() as password:
        encrypt(source, volume, password)
        largest = max(volume.iterdir(), key=lambda path: path.stat().st_size)
        largest.chmod(0o600)
        data = bytearray(largest.read_bytes())
        data[5000] ^= 1
        largest.write_bytes(data)
        with (
            pytest.raises(IntegrityViolated),
            open_model(volume, password.buffer, tmp_path / "point", access),
        ):
            raise AssertionError("it opened")


@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_a_used_mount_point_is_refused(source: Path, tmp_path: Path, access: str) -> None:
    (tmp_path / "point").mkdir()
    (tmp_path / "point" / "precious").write_text("keep")
    with new_password() as password:
        encrypt(source, tmp_path / "volume", password)
        with (
            pytest.raises(BadInput, match="not empty"),
            open_model(tmp_path / "volume", password.buffer, tmp_path / "point", access),
        ):
            raise AssertionError("it opened")
    assert (tmp_path / "point" / "precious").read_text() == "keep"


_HOLD = """
import sys, pathlib
from crag_provider.model.opening import open_model
with open_model(pathlib.Path(sys.argv[1]), b"word", pathlib.Path(sys.argv[2]), sys.argv[3]) as m:
    print((m.folder / "weights.gguf").stat().st_size, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_kill_9_leaves_no_mount_and_no_plaintext(source: Path, tmp_path: Path, access: str) -> None:
    volume, point = tmp_path / "volume", tmp_path / "point"
    encrypt(source, volume, Secret(b"word"))
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(volume), str(point), access],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"10000\n"
        assert is_mounted(point) == (access == "fuse")
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    until(lambda: not is_mounted(point), 20, "unmounting")
    left = [path for path in point.rglob("*") if not path.is_dir()]
    assert all(str(path.readlink()).startswith("/proc/self/fd/") for path in left)
    with open_model(volume, b"word", point, access) as model:
        assert contents(model.folder) == contents(source)


@fuse
def test_a_dead_mount_is_cleared_at_the_next_start(source: Path, tmp_path: Path) -> None:
    volume, point = tmp_path / "volume", tmp_path / "point"
    encrypt(source, volume, Secret(b"word"))
    point.mkdir()
    daemon = subprocess.run(
        ["gocryptfs", "-nosyslog", "-quiet", "-ro", "--", str(volume), str(point)],
        input=b"word\n",
        check=True,
        timeout=30,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert daemon.returncode == 0 and is_mounted(point)
    mine = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(point).encode() in _command(entry)
    ]
    for pid in mine:
        os.kill(pid, signal.SIGKILL)
    gone(mine)
    assert is_mounted(point)
    with mounted(volume, b"word", point) as plain:
        assert contents(plain) == contents(source)
    assert clear_stale(point) is False


def _command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def test_the_commands_encrypt_digest_and_keep_the_key_private(source: Path, tmp_path: Path) -> None:
    provider = Provider(tmp_path / "home", tmp_path)
    made = provider.ok("model", "encrypt", str(source), "volume")
    key = Path(made["key_file"])
    assert key.stat().st_mode & 0o777 == 0o600
    assert made["files"] == 3 and made["bytes"] == 18_192
    assert provider.ok("model", "digest", "volume")["digest"] == made["digest"]
    secret = key.read_text().strip()
    assert len(bytes.fromhex(secret)) == 32
    assert secret not in json.dumps(made)
    with open_model(tmp_path / "volume", key.read_bytes(), tmp_path / "point") as model:
        assert contents(model.folder) == contents(source)


def test_encrypting_twice_or_into_itself_is_refused(source: Path, tmp_path: Path) -> None:
    provider = Provider(tmp_path / "home", tmp_path)
    provider.ok("model", "encrypt", str(source), "volume")
    again = provider.run("model", "encrypt", str(source), "volume", "--json")
    assert again.error["exit"] == 30 and "exists" in again.error["message"]
    inside = provider.run("model", "encrypt", str(source), str(source / "v"), "--json")
    assert inside.error["exit"] == 30 and "inside" in inside.error["message"]
    assert not list((tmp_path / "home" / "keys").glob("*v.key"))
