"""Open a model's volume without FUSE: its files decrypted into memory that has no name on disk.

Each file is a sealed ``memfd``. A private folder holds links of the right names that lead to them
through ``/proc/self/fd``, so a child that inherits the descriptors finds a folder of plain files,
and nobody else finds anything. When the processes end, in whatever way, the memory is gone; what
can stay behind are links that lead nowhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crag_core.config import private_dir
from crag_core.errors import BadInput, NotSupported
from crag_provider.model import manifest
from crag_provider.model.mount import usable_point
from crag_provider.model.volume_reader import VolumeFile, files, open_volume, read_blocks

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


@dataclass(frozen=True)
class MemoryModel:
    """The folder of links, and the descriptors that a child must inherit to follow them."""

    folder: Path
    descriptors: tuple[int, ...]


@contextlib.contextmanager
def decrypted(volume: Path, password: bytes | bytearray, folder: Path) -> Iterator[MemoryModel]:
    """The plaintext of ``volume`` in memory, for one block; checked against its manifest.

    Raises:
        BadInput: ``volume`` is no volume, or ``folder`` is in use.
        IntegrityViolated: the password doesn't open it, or it was tampered with.
        NotSupported: the volume needs gocryptfs itself, or memory does not suffice.
    """
    keys = open_volume(volume, password)
    place = usable_point(folder)
    _clear_links(place)
    descriptors: list[int] = []
    try:
        listed: list[manifest.ModelFile] | None = None
        found = []
        for file in files(volume, keys):
            blocks = read_blocks(file, keys)
            if file.path == manifest.MANIFEST_NAME:
                listed = manifest.decode(b"".join(blocks))
                continue
            descriptor = os.memfd_create("crag-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            descriptors.append(descriptor)
            found.append(_fill(descriptor, file, blocks))
            link = place / file.path
            private_dir(link.parent)
            link.symlink_to(f"/proc/self/fd/{descriptor}")
        if listed is None:
            raise manifest.no_manifest()
        manifest.verify(listed, found)
        yield MemoryModel(place, tuple(descriptors))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
        _clear_links(place)


def _fill(descriptor: int, file: VolumeFile, blocks: Iterator[bytes]) -> manifest.ModelFile:
    digest = hashlib.sha256()
    size = 0
    try:
        with os.fdopen(os.dup(descriptor), "wb", buffering=1 << 20) as stream:
            for block in blocks:
                digest.update(block)
                size += len(block)
                stream.write(block)
    except OSError as error:
        raise NotSupported(
            f"The model does not fit this machine's memory: {error.strerror}.",
            hint="Give the machine more memory, or /dev/fuse and gocryptfs.",
        ) from None
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return manifest.ModelFile(file.path, size, digest.hexdigest())


def _clear_links(place: Path) -> None:
    """Remove our links; refuse a folder that holds anything else."""
    for path in sorted(place.rglob("*"), reverse=True):
        if path.is_symlink() and str(path.readlink()).startswith("/proc/self/fd/"):
            continue
        if path.is_symlink() or not path.is_dir():
            raise BadInput(
                f"The folder {place} for the opened model is not empty.",
                hint="Name an empty or new folder with --mount-point.",
            )
    for child in place.iterdir():
        if child.is_symlink():
            child.unlink()
        else:
            shutil.rmtree(child)
