"""The manifest inside a model's volume: the plaintext files of the model, and their hashes.

gocryptfs authenticates every block of a file, but neither ties a file's name to its content nor
notices a file that went missing. The manifest does both. It lies in the volume itself, so nobody
without the model's key can make one, and the volume's measured digest covers it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crag_core.errors import BadInput, IntegrityViolated

MANIFEST_NAME = ".crag-manifest.json"
MANIFEST_FORMAT = "crag/model-manifest/v1"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
_HEX = frozenset("0123456789abcdef")


@dataclass(frozen=True)
class ModelFile:
    """One plaintext file: relative path with ``/``, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def of_plaintext(source: Path) -> list[ModelFile]:
    """The files of the model in ``source`` (a file or a folder), sorted by path.

    Raises:
        BadInput: it is missing or empty, holds a link or special file, or a manifest already.
    """
    files = []
    for relative, path in _plain_files(source):
        if relative == MANIFEST_NAME:
            raise BadInput(f"{path} has the manifest's name.", hint="Rename that file.")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            files.append(ModelFile(relative, stream.tell(), digest))
    if not files:
        raise BadInput(f"{source} holds no file.", hint="Name the model's file or folder.")
    return files


def _plain_files(source: Path) -> Iterator[tuple[str, Path]]:
    if source.is_file():
        yield source.name, source
        return
    if not source.is_dir():
        raise BadInput(f"The model {source} does not exist.", hint="Check the path.")
    for path in sorted(source.rglob("*"), key=lambda found: found.as_posix().encode()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise BadInput(
                f"{path} is a link or a special file.",
                hint="Put the file itself there: a model is made of plain files and folders.",
            )
        if path.is_file():
            yield path.relative_to(source).as_posix(), path


def encode(files: Iterable[ModelFile]) -> bytes:
    """The manifest's text."""
    listed = [
        {"path": file.path, "size": file.size, "sha256": file.sha256}
        for file in sorted(files, key=lambda file: file.path.encode())
    ]
    content = {"format": MANIFEST_FORMAT, "files": listed}
    return json.dumps(content, ensure_ascii=False, indent=1).encode() + b"\n"


def decode(text: bytes) -> list[ModelFile]:
    """The files that a manifest lists.

    Raises:
        IntegrityViolated: it is not a manifest.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        files = [ModelFile(str(f["path"]), int(f["size"]), f["sha256"]) for f in content["files"]]
        hashed = all(len(f.sha256) == 64 and _HEX.issuperset(f.sha256) for f in files)
        usable = content["format"] == MANIFEST_FORMAT and hashed
    except (ValueError, KeyError, TypeError):
        usable, files = False, []
    if not usable or not files or len({file.path for file in files}) != len(files):
        raise _refused("its manifest is not readable")
    return files


def verify(listed: Iterable[ModelFile], found: Iterable[ModelFile]) -> None:
    """Compare what the manifest lists with what the opened volume holds.

    Args:
        listed: from :func:`decode`.
        found: every file but the manifest, with the hash of what was read.

    Raises:
        IntegrityViolated: a file is missing, was added, or has another content; it is named.
    """
    expected = {file.path: file for file in listed}
    seen = {file.path: file for file in found}
    for path in sorted(expected):
        if path not in seen:
            raise _refused(f"{path} is missing")
        if expected[path] != seen[path]:
            raise _refused(f"{path} is not the file that was encrypted")
    for path in sorted(seen):
        if path not in expected:
            raise _refused(f"{path} was added")


def verify_folder(folder: Path) -> list[ModelFile]:
    """Check the opened volume mounted at ``folder`` against the manifest in it; its files.

    Raises:
        IntegrityViolated: there is no manifest, or it does not fit.
    """
    try:
        with (folder / MANIFEST_NAME).open("rb") as stream:
            text = stream.read(MAX_MANIFEST_BYTES)
    except OSError:
        raise no_manifest() from None
    listed = decode(text)
    try:
        found = [
            _hashed(relative, path)
            for relative, path in _plain_files(folder)
            if relative != MANIFEST_NAME
        ]
    except (OSError, BadInput):
        raise _refused("one of its files cannot be read") from None
    verify(listed, found)
    return listed


def _hashed(relative: str, path: Path) -> ModelFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return ModelFile(relative, stream.tell(), digest)


def no_manifest() -> IntegrityViolated:
    """What is said about a volume without manifest."""
    return IntegrityViolated(
        f"The model's volume has no {MANIFEST_NAME}, so nothing says which files belong to it.",
        hint="Make the volume with 'crag-provider model encrypt'.",
        code="model-manifest-missing",
    )


def _refused(what: str) -> IntegrityViolated:
    return IntegrityViolated(
        f"The model in the volume is not the one that was encrypted: {what}.",
        hint="Fetch the volume anew from the provider.",
        code="model-manifest-violated",
    )
