"""Modules and path files beside the installed distributions, which no RECORD vouches for.

A file in site-packages that no distribution lists can shadow one that is measured, a ``*.pth`` file
runs code at every start, and the folder of the scripts comes before the standard library.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection, Iterable
from importlib.machinery import all_suffixes
from pathlib import Path

from crag_core.errors import NotSupported

PATH_FILE = ".pth"
_RUN = (*all_suffixes(), PATH_FILE)


def strays(covered: Collection[Path], folders: Iterable[Path] | None = None) -> list[Path]:
    """Files that the interpreter could import or run at its start and that are not ``covered``.

    Cached bytecode and what lies in hidden folders is left out.

    Args:
        covered: normalised absolute paths of files that are measured otherwise.
        folders: where to look, with all that is below; :func:`import_folders` by default.

    Returns:
        Sorted paths.

    Raises:
        NotSupported: a folder there is a link.
    """
    found: set[Path] = set()
    for top in folders if folders is not None else import_folders():
        for here, subfolders, names in os.walk(top):
            subfolders[:] = [name for name in subfolders if not _left_out(name)]
            _refuse_links(Path(here), subfolders)
            for name in names:
                path = Path(here, name)
                if name.endswith(_RUN) and path not in covered:
                    found.add(path)
    return sorted(found)


def _refuse_links(here: Path, names: Iterable[str]) -> None:
    for name in names:
        if (here / name).is_symlink():
            raise NotSupported(
                f"The folder {here / name} is a link, so what could be imported from it cannot be "
                "measured.",
                hint="Remove it, or install what it holds from a wheel.",
            )


def _left_out(name: str) -> bool:
    return name == "__pycache__" or name.startswith(".")


def import_folders() -> list[Path]:
    """The folders of distributions and of scripts from which this interpreter imports."""
    wanted = {sysconfig.get_path(name) for name in ("purelib", "platlib", "scripts")}
    wanted |= {
        entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")
    }
    return sorted({normal(folder) for folder in wanted if folder and Path(folder).is_dir()})


def normal(path: str | Path) -> Path:
    """``path``, absolute and without dots, its links untouched: as the interpreter names it."""
    return Path(os.path.normpath(Path(path).absolute()))


def is_plain_pointer(path: Path, roots: Collection[Path]) -> bool:
    """Whether a path file does nothing but name one of ``roots``, as an editable install does."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError):
        return False
    named = [line for line in lines if line]
    return len(named) == 1 and not named[0].startswith("import") and Path(named[0]) in roots
