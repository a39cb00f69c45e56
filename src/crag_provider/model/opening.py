"""Open the model's volume in the way that this machine permits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crag_core.errors import BadInput
from crag_provider.model import manifest
from crag_provider.model.memory import decrypted
from crag_provider.model.mount import fuse_missing, mounted

ACCESS = ("auto", "fuse", "memory")


@dataclass(frozen=True)
class OpenModel:
    """The model in plaintext.

    ``folder``: where its files are. ``descriptors``: what a child must inherit to read them.
    ``access``: ``fuse`` or ``memory``; ``why``: what made it memory, in words.
    """

    folder: Path
    descriptors: tuple[int, ...]
    access: str
    why: str = ""


@contextlib.contextmanager
def open_model(
    volume: Path, password: bytes | bytearray, mount_point: Path, access: str = "auto"
) -> Iterator[OpenModel]:
    """The model in ``volume``, checked against its manifest, for one block.

    Args:
        password: the model's key as the Trustee holds it; one trailing newline is not part of it.
        access: ``fuse`` mounts, ``memory`` decrypts into memory, ``auto`` takes what is there.

    Raises:
        IntegrityViolated: wrong key, or the volume or its files are not what was encrypted.
        NotSupported: ``fuse`` is asked for and missing, or the volume's format needs it.
        BadInput: no volume, or the mount point is in use.
        Unreachable: the mount did not come up in time.
    """
    secret = usable_password(password)
    missing = fuse_missing()
    if access == "memory" or (access == "auto" and missing):
        with decrypted(volume, secret, mount_point) as model:
            why = f"{missing} is missing" if missing else "memory was asked for"
            yield OpenModel(model.folder, model.descriptors, "memory", why)
        return
    with mounted(volume, secret, mount_point) as folder:
        manifest.verify_folder(folder)
        yield OpenModel(folder, (), "fuse")


def usable_password(raw: bytes | bytearray) -> bytearray:
    """The password that gocryptfs reads from a file of these bytes.

    Raises:
        BadInput: it is empty, or has line breaks or NUL inside.
    """
    password = bytearray(raw)
    if password.endswith(b"\n"):
        del password[-1]
    if not password or b"\n" in password or b"\0" in password or len(password) > 2048:
        raise BadInput(
            "The model's key is empty or has line breaks in it, so it cannot open a volume.",
            hint="Push the key file that 'crag-provider model encrypt' wrote.",
        )
    return password
