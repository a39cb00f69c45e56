"""Read a gocryptfs volume without FUSE: walk its files and decrypt them block by block.

For machines without /dev/fuse. Everything that doesn't authenticate is refused; an all-zero block,
which gocryptfs reads as a hole, is refused too, because whoever stores the volume could punch one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidTag

from crag_core.errors import BadInput, IntegrityViolated
from crag_provider.model.volume_format import (
    CIPHER_BLOCK,
    CONFIG_NAME,
    DIRIV_NAME,
    HEADER_BYTES,
    ID_BYTES,
    IV_BYTES,
    LONG_PREFIX,
    LONG_SUFFIX,
    TAG_BYTES,
    VERSION,
    VolumeKeys,
    long_name,
    open_config,
)

_MAX_CONFIG_BYTES = 65536
_MAX_NAME_FILE_BYTES = 4096
_BLOCKS_AT_ONCE = 256


@dataclass(frozen=True)
class VolumeFile:
    """A file of the volume: its plain relative path with ``/``, and where it lies encrypted."""

    path: str
    stored: Path


def open_volume(directory: Path, password: bytes | bytearray) -> VolumeKeys:
    """The keys of the volume in ``directory``.

    Raises:
        BadInput: there is no volume.
        NotSupported: it uses features that only gocryptfs reads.
        IntegrityViolated: the password doesn't open it.
    """
    config = directory / CONFIG_NAME
    try:
        with config.open("rb") as stream:
            text = stream.read(_MAX_CONFIG_BYTES)
    except OSError as error:
        raise BadInput(
            f"{directory} holds no readable encrypted volume: {CONFIG_NAME}: {error.strerror}.",
            hint="Name the folder that 'crag-provider model encrypt' made.",
        ) from None
    return open_config(text, password)


def files(directory: Path, keys: VolumeKeys) -> Iterator[VolumeFile]:
    """Every file of the volume, folder by folder.

    Raises:
        IntegrityViolated: an entry that is no file or folder of this volume.
    """
    yield from _walk(directory, "", keys, root=True)


def _walk(folder: Path, prefix: str, keys: VolumeKeys, *, root: bool) -> Iterator[VolumeFile]:
    diriv = b""
    if keys.names is not None:
        diriv = _small_file(folder / DIRIV_NAME)
        if len(diriv) != ID_BYTES:
            raise _broken(f"a folder of it has no usable {DIRIV_NAME}")
    for entry in sorted(folder.iterdir()):
        name = entry.name
        if (root and name == CONFIG_NAME) or (keys.names is not None and name == DIRIV_NAME):
            continue
        if keys.names is not None and name.startswith(LONG_PREFIX):
            if name.endswith(LONG_SUFFIX):
                continue
            stored = _small_file(entry.with_name(name + LONG_SUFFIX)).decode("ascii", "replace")
            if long_name(stored) != name:
                raise _broken("a long name of it belongs to another file")
            name = stored
        plain = prefix + keys.open_name(name, diriv)
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise _broken("it holds a link or a special file")
        if entry.is_dir():
            yield from _walk(entry, plain + "/", keys, root=False)
        else:
            yield VolumeFile(plain, entry)


def _small_file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_MAX_NAME_FILE_BYTES)
    except OSError:
        raise _broken(f"{path.name[:40]} is missing") from None


def read_blocks(file: VolumeFile, keys: VolumeKeys) -> Iterator[bytes]:
    """The plaintext of ``file`` in blocks of 4096 bytes (the last one may be shorter).

    Raises:
        IntegrityViolated: a block was changed, moved, cut or taken from another file.
    """
    with file.stored.open("rb") as stream:
        header = stream.read(HEADER_BYTES)
        if not header:
            return
        if len(header) != HEADER_BYTES or int.from_bytes(header[:2]) != VERSION:
            raise _broken(f"the header of {file.path} is broken")
        file_id = header[2:]
        for number in itertools.count(0, _BLOCKS_AT_ONCE):
            chunk = stream.read(_BLOCKS_AT_ONCE * CIPHER_BLOCK)
            if not chunk:
                return
            for index, at in enumerate(range(0, len(chunk), CIPHER_BLOCK)):
                block = chunk[at : at + CIPHER_BLOCK]
                yield _open(keys, block, number + index, file_id, file.path)


def _open(keys: VolumeKeys, block: bytes, number: int, file_id: bytes, path: str) -> bytes:
    if len(block) > IV_BYTES + TAG_BYTES:
        try:
            return keys.open_block(block, number, file_id)
        except InvalidTag:
            pass
    raise _broken(f"block {number} of {path} was changed")


def _broken(what: str) -> IntegrityViolated:
    return IntegrityViolated(
        f"The model's volume was tampered with or is incomplete: {what}.",
        hint="Fetch the volume anew from the provider.",
    )
