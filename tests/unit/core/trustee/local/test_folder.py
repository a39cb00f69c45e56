"""The Trustee's folder: private, whole files, writers in turn."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path

import pytest

from crag_core.errors import BadInput
from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.reference_values import ReferenceValues


def test_an_open_folder_is_closed_to_others(tmp_path: Path) -> None:
    root = tmp_path / "t"
    root.mkdir(mode=0o755)
    assert stat.S_IMODE(Folder(root).root.stat().st_mode) == 0o700


def test_files_and_folders_are_private_whatever_the_umask_is(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    before = os.umask(0)
    try:
        with folder.writing() as writer:
            writer.write(b"x", "a", "b", "c")
            writer.append(b"y", "log")
    finally:
        os.umask(before)
    for path in folder.root.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


def test_links_are_not_followed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    (folder.root / "link").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic"):
        folder.read("link")
    with folder.writing() as writer, pytest.raises(OSError, match="symbolic"):
        writer.append(b"x", "link")


def test_unfinished_files_are_swept_and_others_are_not(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    with folder.writing() as writer:
        writer.write(b"x", "resources", "a", "b", "c")
        (folder.root / "resources/a/b/.c.123.0123abcd").write_bytes(b"half")
        (folder.root / "resources/a/b/.keep").write_bytes(b"other")
        assert writer.sweep() == 1
    names = sorted(p.name for p in folder.path("resources", "a", "b").iterdir())
    assert names == [".keep", "c"]


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"")
    with pytest.raises(BadInput, match="cannot be made"):
        Folder(tmp_path / "t")


def _register(root: str, name: str) -> None:
    references = ReferenceValues(Folder(Path(root)))
    for number in range(20):
        references.register({f"{name}.{number}": ["v"]})


def test_writers_in_several_processes_lose_nothing_of_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=_register, args=(str(tmp_path / "t"), f"p{n}")) for n in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert len(ReferenceValues(Folder(tmp_path / "t")).all()) == 60
