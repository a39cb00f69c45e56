"""Whoever stores the model's volume exchanges two of its files, which gocryptfs does not notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crag_core.errors import IntegrityViolated
from crag_provider.model.encryption import encrypt
from crag_provider.model.mount import fuse_missing, is_mounted, mounted
from crag_provider.model.opening import open_model
from crag_provider.model.volume_reader import files, open_volume
from crag_provider.secret import Secret

KEY = b"00" * 32
fuse = pytest.mark.skipif(bool(fuse_missing()), reason=f"no FUSE here: {fuse_missing()} is missing")


@pytest.fixture
def swapped(tmp_path: Path) -> Path:
    """A volume in which the aligned and the raw weights have changed places."""
    source, volume = tmp_path / "model", tmp_path / "volume"
    source.mkdir()
    for name in ("aligned.gguf", "raw.gguf"):
        (source / name).write_bytes(name.encode() + os.urandom(9000))
    encrypt(source, volume, Secret(KEY))
    stored = {found.path: found.stored for found in files(volume, open_volume(volume, KEY))}
    one, other = stored["aligned.gguf"], stored["raw.gguf"]
    aside = volume.parent / "aside"
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    return volume


@fuse
def test_gocryptfs_alone_serves_the_wrong_file(swapped: Path, tmp_path: Path) -> None:
    with mounted(swapped, KEY, tmp_path / "point") as plain:
        assert (plain / "aligned.gguf").read_bytes().startswith(b"raw.gguf")


@pytest.mark.parametrize("access", [pytest.param("fuse", marks=fuse), "memory"])
def test_the_service_refuses_and_names_the_file(swapped: Path, tmp_path: Path, access: str) -> None:
    with (
        pytest.raises(IntegrityViolated, match=r"aligned\.gguf is not the file") as refused,
        open_model(swapped, KEY, tmp_path / "point", access),
    ):
        raise AssertionError("it opened")
    assert refused.value.exit_code == 12
    assert not is_mounted(tmp_path / "point")
