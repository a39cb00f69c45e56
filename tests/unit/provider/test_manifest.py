"""The manifest in a volume names what is missing, added or another file."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.errors import BadInput, IntegrityViolated
from crag_provider.model import manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.bin").write_bytes(b"a")
    (tmp_path / "sub" / "b.bin").write_bytes(b"b")
    text = manifest.encode(manifest.of_plaintext(tmp_path))
    (tmp_path / manifest.MANIFEST_NAME).write_bytes(text)
    return tmp_path


def test_an_untouched_folder_is_what_was_encrypted(folder: Path) -> None:
    assert [file.path for file in manifest.verify_folder(folder)] == ["a.bin", "sub/b.bin"]


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "a.bin").unlink()
    with pytest.raises(IntegrityViolated, match=r"a\.bin is missing"):
        manifest.verify_folder(folder)


def test_swapped_files_are_named(folder: Path) -> None:
    (folder / "a.bin").write_bytes(b"b")
    with pytest.raises(IntegrityViolated, match=r"a\.bin is not the file"):
        manifest.verify_folder(folder)


def test_an_added_file_is_named(folder: Path) -> None:
    (folder / "sub" / "c.bin").write_bytes(b"c")
    with pytest.raises(IntegrityViolated, match=r"sub/c\.bin was added"):
        manifest.verify_folder(folder)


def test_a_folder_without_manifest_is_refused(folder: Path) -> None:
    (folder / manifest.MANIFEST_NAME).unlink()
    with pytest.raises(IntegrityViolated) as refused:
        manifest.verify_folder(folder)
    assert refused.value.code == "model-manifest-missing"


@given(st.binary(max_size=200))
def test_nothing_else_is_taken_for_a_manifest(text: bytes) -> None:
    with pytest.raises(IntegrityViolated):
        manifest.decode(text)


def test_a_link_in_the_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(BadInput, match="link"):
        manifest.of_plaintext(tmp_path)


def test_a_model_must_have_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no file"):
        manifest.of_plaintext(tmp_path)
    with pytest.raises(BadInput, match="does not exist"):
        manifest.of_plaintext(tmp_path / "none")
