"""Typed settings: flag > environment > project file > user file > default.

A setting is a command-line option; its name in lower case is its key in the files, in upper case
behind ``CRAG_OWNER_`` (or the role's name) its variable, and behind ``CRAG_`` the variable that all
roles share. The project file is ``crag.toml`` in the current folder (or ``--config FILE``), the
user file ``config.toml`` in the platform's configuration folder. Both are TOML with a flat table
per role (``[owner]``, ``[provider]``, ``[user]``) and ``[shared]`` for what all roles use.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crag_core.errors import BadInput, UsageError


def home() -> Path:
    """The folder of all state: ``CRAG_HOME``, or the platform's folder for user data."""
    override = os.environ.get("CRAG_HOME")
    if override:
        return Path(override).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_data_dir("crag", appauthor=False))


def private_dir(path: Path) -> Path:
    """Create ``path`` (mode 0700) where it is missing and return it.

    Raises:
        BadInput: the folder cannot be made, or somebody else could exchange what lies in it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise BadInput(
            f"The folder {path} cannot be made: {error.strerror}.",
            hint="Name another one with CRAG_HOME.",
        ) from error
    found = path.stat()
    mine = os.geteuid() in (0, found.st_uid)
    # With the sticky bit others may add files, but not exchange ours.
    shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if not mine or shared:
        raise BadInput(
            f"The folder {path} is open to other users of this machine: "
            f"{'they may write to it' if mine else 'it is not yours'}.",
            hint=f"Run chmod go-w {path}, or name another one with CRAG_HOME."
            if mine
            else "Name a folder of your own with CRAG_HOME.",
        )
    return path


# Settings that can switch a protection off, besides those with "insecure" in their name.
WEAKENING = frozenset({"recheck", "require_anchor"})


@dataclass(frozen=True)
class Found:
    """A value and where it came from; ``lying_about``: from a file that merely lies in the current
    folder, and was not named."""

    value: Any
    origin: str
    lying_about: bool = False


@dataclass
class SettingsFiles:
    """The project's and the user's file, read once, for one role."""

    role: str
    layers: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    unnamed: str = ""

    @classmethod
    def load(cls, role: str, explicit: Path | None) -> SettingsFiles:
        """Read the project file (``explicit``, or ``crag.toml`` if there is one) and the user file.

        Raises:
            UsageError: ``explicit`` does not exist.
            BadInput: a file is not TOML.
        """
        files = cls(role)
        project = explicit or Path("crag.toml")
        if explicit is not None and not explicit.is_file():
            raise UsageError(
                f"The configuration file {explicit} does not exist.",
                hint="Name an existing file with --config, or leave the option out.",
            )
        import platformdirs

        user = Path(platformdirs.user_config_dir("crag", appauthor=False)) / "config.toml"
        for path in (project, user):
            if path.is_file():
                content = _read_toml(path)
                if path is project and explicit is None:
                    _require_harmless(path, content)
                    files.unnamed = str(path)
                files.layers.append((str(path), content))
        return files

    def lookup(self, key: str) -> Found | None:
        """The first layer's value for ``key`` (role table before ``[shared]``), or None."""
        for origin, data in self.layers:
            for table in (self.role, "shared"):
                section = data.get(table)
                if isinstance(section, dict) and key in section:
                    return Found(section[key], f"{origin} [{table}]", origin == self.unnamed)
        return None


def _require_harmless(path: Path, content: dict[str, Any]) -> None:
    """Refuse a file that lies in the current folder and switches a protection off.

    Whoever gives somebody a folder (an archive, a repository) also gives them its ``crag.toml``.

    Raises:
        UsageError: names the file and the setting; or the file is another user's, or anybody's.
    """
    found = path.stat()
    if os.geteuid() not in (0, found.st_uid) and found.st_uid != 0:
        raise UsageError(
            f"{path.absolute()} belongs to another user.",
            hint=f"Read it, then name it with --config {path}, or work in another folder.",
        )
    if found.st_mode & stat.S_IWOTH:
        raise UsageError(
            f"Every user of this machine may write to {path.absolute()}.",
            hint=f"Run chmod o-w {path}.",
        )
    for table in content.values():
        for key in table if isinstance(table, dict) else ():
            if "insecure" in str(key) or key in WEAKENING:
                raise UsageError(
                    f"{path} sets {key}, which a file that merely lies in the current folder may "
                    "not do.",
                    hint=f"If you mean it, say it yourself: by flag, by variable, or with "
                    f"--config {path}.",
                )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(
            f"The configuration file {path} is not TOML: {error}.", hint="Correct that line."
        ) from error


def read_secret_file(path: str, what: str) -> bytes:
    """The bytes of a secret's file, one trailing newline removed; ``-`` is standard input.

    Raises:
        BadInput: the file cannot be read or is empty.
    """
    try:
        raw = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise BadInput(
            f"The file {path} with the {what} cannot be read: {error.strerror}.",
            hint="Check the path and its permissions.",
        ) from error
    raw = raw.removesuffix(b"\n").removesuffix(b"\r")
    if not raw:
        raise BadInput(f"The file {path} with the {what} is empty.", hint="Put the secret in it.")
    return raw


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` with mode 0600, all or nothing, surviving a crash.

    The data goes to a new file beside ``path``, is flushed to disk, and replaces ``path`` by a
    rename; the folder is flushed too, so that the rename survives a power loss.
    """
    private_dir(path.parent)
    temporary = path.parent / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR
    )
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
