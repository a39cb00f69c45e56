"""The file that holds the owner's master key.

A key that crag makes is one line: ``crag-key-v1:`` and 32 random bytes in base64url. Any other
content is the key itself, byte by byte, without one trailing newline. So a key with any bytes in it
survives editors, and a passphrase of another tool can be used as it is.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from crag_core.config import home, private_dir, read_secret_file, write_private
from crag_core.errors import BadInput, UsageError
from crag_core.keys import MasterKey

PREFIX = b"crag-key-v1:"
KEY_BYTES = 32


def default_path() -> Path:
    """Where the key lies when no other file is named."""
    return home() / "keys" / "master.key"


def encode(key: MasterKey) -> bytes:
    """The file's content: a line for a key of 32 bytes, for any other its bytes and a newline."""
    if len(key.raw) != KEY_BYTES:
        # A reader takes one \n and then one \r away.
        return key.raw + (b"\r\n" if key.raw.endswith(b"\r") else b"\n")
    return PREFIX + base64.urlsafe_b64encode(key.raw).rstrip(b"=") + b"\n"


def decode(content: bytes, where: str) -> MasterKey:
    """The key in a file's content, its trailing newline already removed.

    Raises:
        BadInput: it begins like a file of crag, but does not go on like one.
    """
    if not content.startswith(PREFIX):
        return MasterKey.from_bytes(content)
    text = content.removeprefix(PREFIX).strip()
    try:
        raw = base64.b64decode(text + b"=" * (-len(text) % 4), b"-_", validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != KEY_BYTES:
        raise BadInput(
            f"The key file {where} is damaged.", hint="Put a copy from your backup in its place."
        )
    return MasterKey.from_bytes(raw)


def load(path: str) -> MasterKey:
    """The key in a file; ``-`` is standard input.

    Raises:
        BadInput: the file cannot be read, is empty or damaged.
    """
    return decode(read_secret_file(path, "master key"), path)


def readable_by_others(path: Path) -> bool:
    """Whether group or others may read the file."""
    try:
        return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def create(path: Path) -> MasterKey:
    """Make a key and keep it in a new file of mode 0600.

    Raises:
        BadInput: the file exists, or cannot be written.
    """
    key = MasterKey.generate()
    store(path, key)
    return key


def taken(path: Path) -> BadInput:
    """The refusal to write over a key."""
    return BadInput(
        f"There is a key in {path} already.",
        hint="Use it, or name another file; a key that is lost makes its documents unreadable.",
    )


def store(path: Path, key: MasterKey) -> None:
    """Keep a key in a new file of mode 0600.

    Raises:
        BadInput: the file exists, or cannot be written.
    """
    private_dir(path.parent)
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        write_private(fresh, encode(key))
        # A link fails where the name is taken, so that two first runs at once cannot both win.
        os.link(fresh, path)
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise BadInput(
            f"The key file {path} cannot be written: {error.strerror}.",
            hint="Name another one with --master-key-file.",
        ) from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


@dataclass(frozen=True)
class KeySource:
    """Where a command's master key comes from: a literal, a named file, or the default file."""

    literal: str | None = field(default=None, repr=False)
    path: str | None = None

    def __post_init__(self) -> None:
        if self.literal is not None and self.path is not None:
            raise UsageError(
                "The master key is given twice.",
                hint="Keep one of --master-key and --master-key-file.",
            )

    @property
    def file(self) -> Path | None:
        """The key's file, or None for a literal or standard input."""
        if self.literal is not None or self.path == "-":
            return None
        return Path(self.path) if self.path is not None else default_path()

    @property
    def exists(self) -> bool:
        """Whether there is a key already, without reading it."""
        file = self.file
        return file is None or self.path is not None or file.exists()

    def load(self) -> MasterKey:
        """The key.

        Raises:
            BadInput: no key, or its file cannot be used.
        """
        if self.literal is not None:
            return MasterKey.from_bytes(self.literal.encode("utf-8", "surrogateescape"))
        if self.path is not None:
            return load(self.path)
        file = default_path()
        if not file.exists():
            raise BadInput(
                f"There is no key yet: {file} does not exist.",
                hint="Make one with `crag-owner key new`, or name yours with --master-key-file.",
            )
        return load(str(file))
