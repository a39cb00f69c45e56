"""Finding and reading files under limits."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_owner.files import (
    MIB,
    Candidate,
    Corpus,
    Limits,
    find,
    read,
    source_name,
    source_prefix,
)
from crag_owner.parsing import Unreadable


def _read(path: Path, limits: Limits | None = None) -> bytes:
    return read(Candidate(path, path.name), limits)


def test_folders_are_walked_in_order_without_hidden_files(tmp_path: Path) -> None:
    for name in ("b/z.md", "b/a.txt", "a.txt", ".hidden.txt", ".git/x.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = [candidate.source for candidate in find([tmp_path], tmp_path)]
    assert found == ["a.txt", "b/a.txt", "b/z.md"]


def test_a_document_is_named_from_the_current_folder_or_from_what_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / "docs" / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    monkeypatch.chdir(here)
    docs = here / "docs"
    file = docs / "sub" / "x.md"
    assert source_name(Path("docs/sub/x.md"), Path("docs")) == "docs/sub/x.md"
    assert source_name(Path("docs/sub/x.md"), Path("docs/sub/x.md")) == "docs/sub/x.md"
    assert source_name(Path("./docs/../docs/sub/x.md"), Path("docs/")) == "docs/sub/x.md"
    monkeypatch.chdir(elsewhere)
    assert source_name(file, docs) == "docs/sub/x.md"
    assert source_name(file, docs, docs) == "sub/x.md"
    assert source_name(file, docs, elsewhere) == "docs/sub/x.md"


def test_what_lies_below_a_folder_begins_with_its_name_or_nothing_below_the_base(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    monkeypatch.chdir(docs)
    for folder, base, prefix in (
        (Path(), None, ""),
        (docs, None, ""),
        (docs, docs, ""),
        (docs, tmp_path, "docs/"),
        (Path(), Path(".."), "docs/"),
        (docs / "law", None, "law/"),
        (docs, Path("../other"), "docs/"),
    ):
        assert source_prefix(folder, base) == prefix
        assert source_name(folder / "a.txt", folder, base) == f"{prefix}a.txt"


def test_folders_that_are_links_or_cannot_be_listed_are_given_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/x.txt", "b/y.txt", "b/.git/z.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / ".d").symlink_to(tmp_path / "a")
    real = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = list(find([tmp_path], tmp_path))
    assert [(each.source, each.folder) for each in found] == [
        ("c", True), ("a/x.txt", False), ("b", True),
    ]  # fmt: skip
    with pytest.raises(Unreadable, match="symbolic link inside the folder"):
        read(found[0])
    with pytest.raises(Unreadable, match="folder that cannot be listed: Permission denied"):
        read(found[2])


@pytest.mark.parametrize("content", [b"", b" \n\t\r\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f.txt"
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="is empty"):
        _read(path)


def test_two_hundred_megabytes_are_refused_without_reading_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as stream:
        stream.truncate(200 * MIB)
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable, match="is 200 MiB large; the limit is 64 MiB"):
            _read(path)
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_a_file_that_grows_while_it_is_read_stays_within_the_limit() -> None:
    # The kernel gives 0 as the size of this endless file's kin in /proc.
    with pytest.raises(Unreadable, match=r"is larger than 0 MiB"):
        _read(Path("/proc/self/status"), Limits(file=100))


def test_links_in_folders_pipes_and_missing_files_are_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("sesame")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "link.txt").symlink_to(secret)
    os.mkfifo(folder / "pipe.txt")
    link, pipe = find([folder], tmp_path)
    with pytest.raises(Unreadable, match="symbolic link inside the folder"):
        read(link)
    with pytest.raises(Unreadable, match="no regular file"):
        read(pipe)
    with pytest.raises(Unreadable, match="cannot be read: No such file"):
        _read(tmp_path / "gone.txt")
    assert [c.source for c in find([folder / "link.txt"], tmp_path)] == ["docs/link.txt"]
    assert _read(folder / "link.txt") == b"sesame"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 400))
def test_reading_gives_the_bytes_or_refuses(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, most: int
) -> None:
    path = tmp_path_factory.mktemp("f") / "f.bin"
    path.write_bytes(content)
    if content.strip() and len(content) <= most:
        assert _read(path, Limits(file=most)) == content
    else:
        with pytest.raises(Unreadable):
            _read(path, Limits(file=most))


def test_a_corpus_counts_files_and_bytes_and_is_walked_again(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("four")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.txt").write_text("sixsix")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    corpus = Corpus.of([tmp_path, tmp_path / "a.txt", tmp_path / "missing.txt"], tmp_path)
    assert (corpus.files, corpus.size) == (5, 14)
    for _ in range(2):
        assert [(each.source, each.size, bool(each.refused)) for each in corpus] == [
            ("a.txt", 4, False), ("link.txt", 0, True), ("b/c.txt", 6, False),
            ("a.txt", 4, False), ("missing.txt", 0, False),
        ]  # fmt: skip
