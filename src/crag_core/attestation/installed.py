"""What is installed and would be imported, hashed from the files themselves.

A wheel's RECORD says what its files were when it was built; what runs is what lies on disk now. So
crag's own packages are found as the interpreter finds them (an editable install and a wheel with
the same files give the same digest) and every file that could matter is read. Of every other
distribution, the files that it lists are read; what could be imported beside them is a stray.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import marshal
import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from types import CodeType
from typing import Any

from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.strays import PATH_FILE, import_folders, is_plain_pointer, normal, strays
from crag_core.errors import IntegrityViolated, NotSupported

SOFTWARE_FORMAT = "crag/software/v1"
OWN = ("crag-core", "crag-kernel", "crag-owner", "crag-provider", "crag-user")
# Beside the modules in a source tree, and never read at run time.
_NOT_RUN = {"pyproject.toml", "README.md"}
_INTERPRETER = re.compile(rb"#![ -~]*")
_OF_THE_INSTALLER = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}

Files = Sequence[tuple[str, Path]]


def software(programs: Mapping[str, Path] | None = None) -> dict[str, Any]:
    """The installed software as measured content (docs/reference/measurement.md).

    Args:
        programs: programs that are started beside Python, name to path, for example ``tng``.

    Returns:
        ``{"format": "crag/software/v1", "python", "distributions", "dependencies", "strays",
        "programs"}``.

    Raises:
        NotSupported: a package or program cannot be read.
        IntegrityViolated: cached bytecode would run that is not what its source compiles to.
    """
    own = {name: package_files(name.replace("-", "_")) for name in OWN}
    others = dict(_dependencies())
    started = {name: [(name, path)] for name, path in (programs or {}).items()}
    wanted = {
        p for files in (*own.values(), *others.values(), *started.values()) for _, p in files or ()
    }
    digests = _hash_all(sorted(wanted))
    covered = {p for files in (*own.values(), *others.values()) for _, p in files or ()}
    for files in own.values():
        _require_honest_bytecode(files or ())
    versions = {_normalised(found.name): found.version for found in _distributions()}
    return {
        "format": SOFTWARE_FORMAT,
        "python": f"{platform.python_implementation().lower()} {platform.python_version()}",
        "distributions": {
            name: {"version": versions.get(name, "unknown"), "files": _digest(files, digests)}
            for name, files in own.items()
            if files is not None
        },
        "dependencies": {
            name: {"version": versions[name], "files": files and _digest(files, digests)}
            for name, files in others.items()
        },
        "strays": _stray_digests(covered | _pointers(own), _roots(own)),
        "programs": {name: digests[files[0][1]] for name, files in started.items()},
    }


def package_files(package: str) -> Files | None:
    """The files of an importable package that could matter, or None if there is no such package.

    Everything under the package's folder counts, besides hidden files, ``__pycache__``, and the
    ``pyproject.toml`` and ``README.md`` at its top. Paths begin with the package's name.

    Raises:
        NotSupported: the package is not a plain folder, or a folder in it is a link.
    """
    spec = importlib.util.find_spec(package)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    if len(folders) != 1 or not Path(folders[0]).is_dir():
        raise NotSupported(
            f"The package {package} is not one folder of files and cannot be measured.",
            hint="Install it from its wheel, once.",
        )
    root = Path(folders[0])
    found: list[tuple[str, Path]] = []
    for folder, subfolders, names in os.walk(root):
        here = Path(folder)
        subfolders[:] = [name for name in subfolders if name != "__pycache__" and name[0] != "."]
        for name in subfolders:
            if (here / name).is_symlink():
                raise NotSupported(
                    f"The folder {here / name} is a link, so what it holds cannot be measured.",
                    hint=f"Install {package} from its wheel.",
                )
        for name in names:
            if name[0] != "." and not (here == root and name in _NOT_RUN):
                path = here / name
                found.append((f"{package}/{path.relative_to(root).as_posix()}", path))
    return sorted(found, key=lambda item: item[0].encode())


def _distributions() -> Iterator[metadata.Distribution]:
    """Each installed distribution once: the one that the interpreter finds first."""
    seen = set()
    for found in metadata.distributions():
        name = _normalised(found.name or "")
        if name and name not in seen:
            seen.add(name)
            yield found


def _dependencies() -> list[tuple[str, Files | None]]:
    """Name and listed files of all that is not ours, by name; None where nothing is listed."""
    listed: list[tuple[str, Files | None]] = []
    for found in _distributions():
        name = _normalised(found.name)
        if name in OWN:
            continue
        files = [
            (str(path), Path(str(path.locate()))) for path in found.files or () if _counts(path)
        ]
        here = [(text, path) for text, path in files if path.is_file()]
        listed.append((name, None if _is_pointer(found) or not here else sorted(here)))
    return sorted(listed, key=lambda item: item[0])


def _counts(path: metadata.PackagePath) -> bool:
    parts = path.parts
    if ".." in parts or "__pycache__" in parts:  # scripts name this machine's paths
        return False
    return not (parts[0].endswith(".dist-info") and parts[-1] in _OF_THE_INSTALLER)


def _is_pointer(found: metadata.Distribution) -> bool:
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return True
    return bool(origin.get("dir_info", {}).get("editable"))


def _pointers(own: Mapping[str, Files | None]) -> set[Path]:
    """The path files of our own editable installs that only name where our packages are."""
    roots = _roots(own)
    return {
        path
        for found in _distributions()
        if _normalised(found.name) in own
        for path in (Path(str(listed.locate())) for listed in found.files or ())
        if path.suffix == PATH_FILE and is_plain_pointer(path, roots)
    }


def _roots(own: Mapping[str, Files | None]) -> set[Path]:
    """The folders from which our packages are imported: a source tree where they are editable."""
    return {path.parents[name.count("/")] for f in own.values() for name, path in f or ()}


def _stray_digests(covered: set[Path], roots: set[Path]) -> dict[str, str]:
    """Path below its import folder, with that folder's name, to SHA-256.

    In a source tree (``roots``) lie also those of our packages that are imported from elsewhere.
    """
    installed = set(import_folders())
    trees = {normal(root) for root in roots} - installed
    ours = [tree / name.replace("-", "_") for tree in trees for name in OWN]
    folders = sorted(installed | trees)
    found = {}
    for path in strays(covered, folders):
        if not any(path.is_relative_to(one) for one in ours):
            top = next(folder for folder in folders if path.is_relative_to(folder))
            found[f"{top.name}/{path.relative_to(top).as_posix()}"] = _hash_script(path)
    return found


def _hash_script(path: Path) -> str:
    """As :func:`_hash`, without the first line where it names an interpreter of this machine."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None
    first, _, rest = raw.partition(b"\n")
    # To Python a line ends at a carriage return too, and the first one may set the encoding in
    # which the others are read (PEP 263).
    named = _INTERPRETER.fullmatch(first) and b"coding" not in first
    return hashlib.sha256(rest if named else raw).hexdigest()


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _hash_all(paths: Sequence[Path]) -> dict[Path, str]:
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return dict(zip(paths, pool.map(_hash, paths), strict=True))


def _hash(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> NotSupported:
    return NotSupported(
        f"{path} is part of what runs and cannot be read: {error.strerror}.",
        hint="Give this user read access to it.",
    )


def _digest(files: Files | None, digests: Mapping[Path, str]) -> str:
    """SHA-256 of the canonical JSON of ``[[path, sha256], ...]``."""
    listing = [[name, digests[path]] for name, path in files or ()]
    return hashlib.sha256(canonical_json(listing)).hexdigest()


def _require_honest_bytecode(files: Files) -> None:
    """Refuse cached bytecode that the interpreter would run in place of another source.

    Raises:
        IntegrityViolated: names the file.
    """
    for _, source in files:
        if source.suffix != ".py":
            continue
        cached = Path(cache_from_source(source))
        try:
            raw = cached.read_bytes()
        except OSError:
            continue
        if _is_used(raw, source) and not _is_compiled_from(raw, source):
            raise IntegrityViolated(
                f"{cached} is not what {source} compiles to, yet the interpreter would run it.",
                hint="Remove that file, find out who put it there, and install crag anew.",
                code="foreign-bytecode",
            )


def _is_used(raw: bytes, source: Path) -> bool:
    if len(raw) < 16 or raw[:4] != MAGIC_NUMBER:
        return False
    if raw[4] & 1:  # checked by the source's hash or not at all: rare, so always compared
        return True
    stat = source.stat()
    stamp = (int(stat.st_mtime) & 0xFFFFFFFF, stat.st_size & 0xFFFFFFFF)
    return stamp == (int.from_bytes(raw[8:12], "little"), int.from_bytes(raw[12:16], "little"))


def _is_compiled_from(raw: bytes, source: Path) -> bool:
    try:
        code = marshal.loads(raw[16:])  # noqa: S302 - the interpreter itself would load it
        expected = compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
    except (ValueError, EOFError, TypeError, SyntaxError):
        return False
    return isinstance(code, CodeType) and code == expected
