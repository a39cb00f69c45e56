"""Find the ``tng`` program: ``CRAG_TNG``, then the wheel ``tng-sdk``, then ``PATH``."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

from crag_core.errors import NotSupported

VERSION = "2.12"
HINT = "Install it with 'pip install tng-sdk==2.12.0', or name it with CRAG_TNG."


def find_tng() -> Path:
    """The path of a ``tng`` of version 2.12.

    Raises:
        NotSupported: there is none, or it has another version.
    """
    path = _locate()
    _require_version(path)
    return path


def _locate() -> Path:
    named = os.environ.get("CRAG_TNG")
    if named:
        path = Path(named).expanduser().absolute()
        if not (path.is_file() and os.access(path, os.X_OK)):
            raise NotSupported(f"CRAG_TNG names {path}, which is not a program.", hint=HINT)
        return path
    found = _from_wheel()
    if found is None:
        on_path = shutil.which("tng")
        if on_path is None:
            raise NotSupported("The gateway program tng is not installed.", hint=HINT)
        found = Path(on_path).absolute()
    return found


def _from_wheel() -> Path | None:
    try:
        files = importlib.metadata.files("tng-sdk") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    # The wheel carries the program twice; the copy in the scripts folder is the installed one.
    for file in sorted((f for f in files if f.name == "tng"), key=lambda f: ".." not in f.parts):
        path = Path(str(file.locate())).resolve()
        if path.is_file() and os.access(path, os.X_OK):
            return path
    return None


@functools.lru_cache(maxsize=8)
def _require_version(path: Path) -> None:
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, env={}, check=False
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    match = re.match(r"tng (\d+\.\d+)\.\d+", told)
    if match is None:
        raise NotSupported(f"{path} does not run, or is not the gateway TNG.", hint=HINT)
    if match.group(1) != VERSION:
        raise NotSupported(
            f"{path} is TNG {match.group(1)}; crag needs {VERSION}, because what TNG verifies and "
            "reports differs between versions.",
            hint=HINT,
        )
