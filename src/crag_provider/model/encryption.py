"""Encrypt a model: from plain files to a gocryptfs volume with a manifest inside."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crag_core.errors import BadInput, CragError
from crag_provider.model import manifest
from crag_provider.model.mount import fuse_missing, mounted
from crag_provider.model.volume_writer import VolumeWriter
from crag_provider.processes import start
from crag_provider.secret import Secret

INIT_SECONDS = 60.0
KEY_BYTES = 32
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Encrypted:
    """What was made: the plain files' number and bytes, and the tool that wrote the volume."""

    files: int
    size: int
    tool: str


def new_password() -> Secret:
    """A random key for a model: 32 bytes as 64 hex digits, the form that a passfile can hold."""
    return Secret(os.urandom(KEY_BYTES).hex().encode())


def encrypt(source: Path, target: Path, password: Secret) -> Encrypted:
    """Make the volume ``target`` from the model ``source`` (a file or a folder).

    gocryptfs writes it where it can be mounted; elsewhere :class:`VolumeWriter` writes the same
    format. ``target`` appears under its name only when it is complete.

    Raises:
        BadInput: the source is unusable, or the target exists.
        CragError: gocryptfs failed, or a file changed meanwhile.
    """
    if target.exists() or target.is_symlink():
        raise BadInput(f"{target} exists already.", hint="Name a new folder.")
    if source.is_dir() and target.absolute().is_relative_to(source.absolute()):
        raise BadInput(f"{target} lies inside {source}.", hint="Name a folder outside the model.")
    files = manifest.of_plaintext(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        if fuse_missing():
            tool = "crag-provider"
            _by_writer(source, files, unfinished, password)
        else:
            tool = "gocryptfs"
            _by_gocryptfs(source, files, unfinished, password)
        unfinished.chmod(0o755)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return Encrypted(len(files), sum(file.size for file in files), tool)


def _by_writer(
    source: Path, files: list[manifest.ModelFile], folder: Path, password: Secret
) -> None:
    writer = VolumeWriter(folder, password.buffer)
    for file in files:
        writer.add(file.path, _unchanged(_origin(source, file), file))
    writer.add(manifest.MANIFEST_NAME, [manifest.encode(files)])


def _by_gocryptfs(
    source: Path, files: list[manifest.ModelFile], folder: Path, password: Secret
) -> None:
    process = start(
        ["gocryptfs", "-init", "-nosyslog", "-quiet", "--", str(folder)],
        given=password.buffer + b"\n",
        stderr=subprocess.PIPE,
    )
    try:
        _, errors = process.communicate(timeout=INIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise CragError(
            f"gocryptfs -init took over {INIT_SECONDS:g} s.", hint="Try again."
        ) from None
    if process.returncode != 0:
        said = " ".join(errors.decode(errors="replace").split())[-300:]
        raise CragError(f"gocryptfs could not make a volume: {said}", hint="Check the folder.")
    with (
        tempfile.TemporaryDirectory(prefix="crag-encrypt-") as point,
        mounted(folder, password.buffer, Path(point) / "volume", writable=True) as plain,
    ):
        for file in files:
            _write(plain / file.path, _unchanged(_origin(source, file), file))
        _write(plain / manifest.MANIFEST_NAME, [manifest.encode(files)])


def _origin(source: Path, file: manifest.ModelFile) -> Path:
    return source / file.path if source.is_dir() else source


def _write(path: Path, blocks: Iterator[bytes] | list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        for block in blocks:
            stream.write(block)
        stream.flush()
        os.fsync(stream.fileno())
    path.chmod(0o400)


def _unchanged(path: Path, expected: manifest.ModelFile) -> Iterator[bytes]:
    """The blocks of ``path``; CragError at the end if they are not those that were hashed."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        while block := stream.read(_CHUNK):
            digest.update(block)
            yield block
    if digest.hexdigest() != expected.sha256:
        raise CragError(f"{path} changed while it was encrypted.", hint="Run the command again.")
