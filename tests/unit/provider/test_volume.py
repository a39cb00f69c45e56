"""gocryptfs' format without gocryptfs: what is written is read, and nothing changed is."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput, IntegrityViolated, NotSupported
from crag_provider.model.volume_format import CIPHER_BLOCK, CONFIG_NAME, DIRIV_NAME, long_name
from crag_provider.model.volume_reader import files, open_volume, read_blocks
from crag_provider.model.volume_writer import VolumeWriter

PASSWORD = b"00112233445566778899aabbccddeeff"
CONTENTS = {
    "weights.gguf": bytes(range(256)) * 64,
    "empty": b"",
    "folder/one block": b"x" * 4096,
    "folder/" + "长" * 80: b"a long name",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("volume")
    writer = VolumeWriter(folder, PASSWORD)
    for path, data in CONTENTS.items():
        writer.add(path, [data[:1000], data[1000:]])
    return folder


@pytest.fixture
def volume(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(written, copy, copy_function=shutil.copyfile)
    return copy


def read(folder: Path, password: bytes = PASSWORD) -> dict[str, bytes]:
    keys = open_volume(folder, password)
    return {found.path: b"".join(read_blocks(found, keys)) for found in files(folder, keys)}


def stored(folder: Path, path: str) -> Path:
    keys = open_volume(folder, PASSWORD)
    return next(found.stored for found in files(folder, keys) if found.path == path)


def test_everything_written_is_read(written: Path) -> None:
    assert read(written) == CONTENTS


def test_no_name_or_content_is_readable(written: Path) -> None:
    names = " ".join(path.name for path in written.rglob("*"))
    assert "weights" not in names and "folder" not in names
    assert all(b"a long name" not in path.read_bytes() for path in written.rglob("*.*"))


def test_the_same_file_is_never_sealed_alike(tmp_path: Path) -> None:
    seen = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        VolumeWriter(tmp_path / name, PASSWORD).add("same", [b"data" * 100])
        seen.add(stored(tmp_path / name, "same").read_bytes())
    assert len(seen) == 2


def test_a_wrong_password_is_refused(written: Path) -> None:
    with pytest.raises(IntegrityViolated) as refused:
        read(written, b"another")
    assert refused.value.code == "wrong-model-key" and refused.value.exit_code == 12


def _swap(folder: Path) -> None:
    one, other = stored(folder, "weights.gguf"), stored(folder, "empty")
    other.write_bytes(one.read_bytes()[:18] + one.read_bytes()[18 + CIPHER_BLOCK :])


def _flip(folder: Path) -> None:
    path = stored(folder, "weights.gguf")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut_in_a_block(folder: Path) -> None:
    path = stored(folder, "weights.gguf")
    path.write_bytes(path.read_bytes()[:-1])


def _hole(folder: Path) -> None:
    path = stored(folder, "folder/one block")
    path.write_bytes(path.read_bytes()[:18] + bytes(CIPHER_BLOCK))


def _tiny_block(folder: Path) -> None:
    path = stored(folder, "folder/one block")
    path.write_bytes(path.read_bytes()[:18] + bytes(32))


def _header(folder: Path) -> None:
    path = stored(folder, "folder/one block")
    path.write_bytes(b"\0\3" + path.read_bytes()[2:])


def _foreign_file(folder: Path) -> None:
    (folder / "AAAAAAAAAAAAAAAAAAAAAA").write_bytes(b"")


def _link(folder: Path) -> None:
    path = stored(folder, "empty")
    path.unlink()
    path.symlink_to("/etc/passwd")


def _no_diriv(folder: Path) -> None:
    (folder / DIRIV_NAME).unlink()


def _renamed_long_name(folder: Path) -> None:
    long = next(path for path in folder.rglob("gocryptfs.longname.*") if path.suffix != ".name")
    long.with_name(long.name + ".name").write_text("A" * 300)


@pytest.mark.parametrize(
    "spoil",
    [
        _swap,
        _flip,
        _cut_in_a_block,
        _hole,
        _tiny_block,
        _header,
        _foreign_file,
        _link,
        _no_diriv,
        _renamed_long_name,
    ],
)
def test_what_was_changed_is_refused(volume: Path, spoil: Callable[[Path], None]) -> None:
    spoil(volume)
    with pytest.raises(IntegrityViolated, match="volume"):
        read(volume)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda c: c["FeatureFlags"].append("XChaCha20Poly1305"), NotSupported),
        (lambda c: c["FeatureFlags"].remove("HKDF"), NotSupported),
        (lambda c: c.update(Version=3), NotSupported),
        (lambda c: c["ScryptObject"].update(N=1 << 24), NotSupported),
        (lambda c: c["ScryptObject"].update(N=65535), NotSupported),
        (lambda c: c["ScryptObject"].update(R=4096), NotSupported),
        (lambda c: c["ScryptObject"].pop("Salt"), BadInput),
        (lambda c: c.update(EncryptedKey="!"), BadInput),
        (lambda c: c.update(EncryptedKey=base64.b64encode(bytes(8)).decode()), IntegrityViolated),
    ],
)
def test_another_configuration_is_refused(
    volume: Path, change: Callable[[dict[str, object]], None], error: type[Exception]
) -> None:
    config = json.loads((volume / CONFIG_NAME).read_text())
    change(config)
    (volume / CONFIG_NAME).write_text(json.dumps(config))
    with pytest.raises(error):
        read(volume)


def test_a_folder_without_volume_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=CONFIG_NAME):
        read(tmp_path)


def test_a_used_folder_is_not_written_to(volume: Path) -> None:
    with pytest.raises(BadInput, match="not empty"):
        VolumeWriter(volume, PASSWORD)


@pytest.mark.parametrize("path", ["", "a//b", "../up", "a/..", "x" * 256])
def test_odd_paths_are_not_written(tmp_path: Path, path: str) -> None:
    with pytest.raises(BadInput):
        VolumeWriter(tmp_path, PASSWORD).add(path, [b""])


@settings(
    deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    name=st.text(
        st.characters(blacklist_categories=["Cs"], blacklist_characters="/\0"),
        min_size=1,
        max_size=80,
    ).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255),
    size=st.integers(0, 9000),
)
def test_any_name_and_size_come_back(
    tmp_path_factory: pytest.TempPathFactory, name: str, size: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    VolumeWriter(folder, PASSWORD).add(name, [b"\x5a" * size])
    assert read(folder) == {name: b"\x5a" * size}


def test_a_long_name_stands_for_one_stored_name() -> None:
    assert long_name("a" * 300) != long_name("a" * 301)
