"""Write a gocryptfs volume without FUSE, in the form that gocryptfs itself mounts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from crag_core.errors import BadInput
from crag_provider.model.volume_format import (
    CONFIG_NAME,
    DIRIV_NAME,
    ID_BYTES,
    LONG_SUFFIX,
    NAME_MAX,
    PLAIN_BLOCK,
    VERSION,
    VolumeKeys,
    long_name,
    new_config,
    wrong_password,
)

_CREATOR = "crag-provider"
_NAME_BYTES = 255


class VolumeWriter:
    """Fills one new volume with files.

    Args:
        directory: the volume's folder; it must be empty.
        password: what will open it.

    Raises:
        BadInput: the folder is not empty.
    """

    def __init__(self, directory: Path, password: bytes | bytearray) -> None:
        if any(directory.iterdir()):
            raise BadInput(f"{directory} is not empty.", hint="Name a new folder.")
        if not password:
            raise wrong_password()
        volume_key = os.urandom(32)
        self._keys = VolumeKeys.derive(volume_key, plain_names=False)
        self._directory = directory
        self._diriv: dict[Path, bytes] = {}
        _create(directory / CONFIG_NAME, [new_config(password, volume_key, creator=_CREATOR)])
        self._folder(directory)

    def add(self, path: str, blocks: Iterable[bytes]) -> None:
        """Add the file ``path`` (relative, with ``/``) with the content ``blocks``.

        Raises:
            BadInput: a part of the path is longer than 255 bytes.
            FileExistsError: the volume has that file.
        """
        *folders, name = path.split("/")
        folder = self._directory
        for part in folders:
            folder = self._entry(folder, part)
            if folder not in self._diriv:
                folder.mkdir()
                self._folder(folder)
        _create(self._entry(folder, name), self._seal(blocks))

    def _folder(self, folder: Path) -> None:
        self._diriv[folder] = os.urandom(ID_BYTES)
        _create(folder / DIRIV_NAME, [self._diriv[folder]])

    def _entry(self, folder: Path, name: str) -> Path:
        if len(name.encode()) > _NAME_BYTES or name in ("", ".", ".."):
            raise BadInput("A file's name in the model is too long or empty.", hint="Rename it.")
        stored = self._keys.seal_name(name, self._diriv[folder])
        if len(stored) <= NAME_MAX:
            return folder / stored
        short = long_name(stored)
        label = folder / (short + LONG_SUFFIX)
        if not label.exists():
            _create(label, [stored.encode()])
        return folder / short

    def _seal(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        file_id = os.urandom(ID_BYTES)
        for number, block in enumerate(_even(blocks)):
            if number == 0:
                yield VERSION.to_bytes(2) + file_id
            yield self._keys.seal_block(block, number, file_id)


def _even(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of exactly 4096, the last one shorter."""
    held = bytearray()
    for block in blocks:
        held += block
        while len(held) >= PLAIN_BLOCK:
            yield bytes(held[:PLAIN_BLOCK])
            del held[:PLAIN_BLOCK]
    if held:
        yield bytes(held)


def _create(path: Path, parts: Iterable[bytes]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as stream:
        for part in parts:
            stream.write(part)
        stream.flush()
        os.fsync(stream.fileno())
