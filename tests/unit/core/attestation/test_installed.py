from __future__ import annotations

import importlib
import os
import py_compile
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.attestation import installed
from crag_core.attestation.installed import package_files, software
from crag_core.errors import IntegrityViolated, NotSupported


class Environment:
    """A site folder of its own, with one package that pretends to be crag's only one."""

    def __init__(self, root: Path, package: str) -> None:
        self.root = root
        self.package = package
        self.folder = root / package
        (self.folder / "sub").mkdir(parents=True)
        (self.folder / "__init__.py").write_text("VALUE = 1\n")
        (self.folder / "sub" / "policy.rego").write_text("package p\n")

    def digest(self) -> str:
        importlib.invalidate_caches()
        found = software()["distributions"][self.package.replace("_", "-")]["files"]
        assert isinstance(found, str)
        return found


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    package = f"cragtest_{uuid.uuid4().hex[:8]}"
    made = Environment(tmp_path / "site", package)
    monkeypatch.syspath_prepend(str(made.root))
    monkeypatch.setattr(installed, "OWN", (package.replace("_", "-"),))
    monkeypatch.setattr(installed, "_dependencies", list)
    monkeypatch.setattr(installed, "import_folders", list)
    yield made
    sys.modules.pop(package, None)


def test_the_digest_covers_every_file_that_could_matter(environment: Environment) -> None:
    seen = {environment.digest()}
    for change in (
        lambda: (environment.folder / "__init__.py").write_text("VALUE = 2\n"),
        lambda: (environment.folder / "sub" / "policy.rego").write_text("package q\n"),
        lambda: (environment.folder / "sub" / "new.py").write_text(""),
        lambda: (environment.folder / "__init__.cpython-311-x86_64-linux-gnu.so").write_bytes(b""),
        lambda: (environment.folder / "sub" / "table.bin").write_bytes(b"\0"),
        lambda: (environment.folder / "sub" / "new.py").rename(environment.folder / "new.py"),
    ):
        change()
        seen.add(environment.digest())
    assert len(seen) == 7


def test_what_is_never_read_at_run_time_does_not_matter(environment: Environment) -> None:
    before = environment.digest()
    (environment.folder / "pyproject.toml").write_text("[project]\n")
    (environment.folder / "README.md").write_text("# x\n")
    (environment.folder / ".editor.swp").write_text("x")
    py_compile.compile(str(environment.folder / "__init__.py"), doraise=True)
    assert (environment.folder / "__pycache__").is_dir()
    assert environment.digest() == before


def test_where_the_package_lies_does_not_matter(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environment.digest()
    shutil.move(environment.root, tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    assert environment.digest() == before


def test_a_record_that_claims_other_files_does_not_matter(environment: Environment) -> None:
    before = environment.digest()
    claims = environment.root / f"{environment.package}-1.0.dist-info"
    claims.mkdir()
    (claims / "METADATA").write_text(f"Name: {environment.package}\nVersion: 0\n")
    (claims / "RECORD").write_text(f"{environment.package}/__init__.py,sha256=AAAA,3\n")
    assert environment.digest() == before
    (environment.folder / "__init__.py").write_text("VALUE = 3\n")
    assert environment.digest() != before


def _plant(environment: Environment, mode: py_compile.PycInvalidationMode) -> Path:
    """Bytecode of another source in the cache, such that the interpreter takes it."""
    source = environment.folder / "__init__.py"
    honest = source.read_text()
    stat = source.stat()
    source.write_text("VALUE = 9\n")
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    cached = py_compile.compile(str(source), doraise=True, invalidation_mode=mode)
    source.write_text(honest)
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return Path(cached)


@pytest.mark.parametrize("mode", ["TIMESTAMP", "UNCHECKED_HASH"])
def test_foreign_bytecode_that_would_run_is_refused(environment: Environment, mode: str) -> None:
    planted = _plant(environment, py_compile.PycInvalidationMode[mode])
    importlib.invalidate_caches()
    assert importlib.import_module(environment.package).VALUE == 9  # the attack is real
    sys.modules.pop(environment.package)
    with pytest.raises(IntegrityViolated, match=planted.name):
        software()


def test_stale_bytecode_that_would_not_run_is_no_matter(environment: Environment) -> None:
    before = environment.digest()
    _plant(environment, py_compile.PycInvalidationMode.TIMESTAMP)
    source = environment.folder / "__init__.py"
    os.utime(source, (1, 1))
    assert environment.digest() == before


def test_a_linked_folder_is_refused(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (environment.folder / "linked").symlink_to(tmp_path / "outside")
    with pytest.raises(NotSupported, match="link"):
        package_files(environment.package)


def test_a_linked_file_is_measured_by_what_it_holds(
    environment: Environment, tmp_path: Path
) -> None:
    target = tmp_path / "real.py"
    target.write_text("A = 1\n")
    (environment.folder / "linked.py").symlink_to(target)
    before = environment.digest()
    target.write_text("A = 2\n")
    assert environment.digest() != before


def test_a_program_is_measured_by_its_bytes(environment: Environment, tmp_path: Path) -> None:
    program = tmp_path / "tng"
    program.write_bytes(b"one")
    first = software({"tng": program})["programs"]
    program.write_bytes(b"two")
    assert software({"tng": program})["programs"] != first
    program.unlink()
    with pytest.raises(NotSupported, match="tng"):
        software({"tng": program})


def test_a_dependency_is_measured_by_its_files_and_not_by_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    info = site / "dep_one-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "dep_one.py").write_text("A = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Dep_One\nVersion: 1.0\n")
    (info / "RECORD").write_text(
        "dep_one.py,sha256=AAAA,6\n../../bin/dep,,\ndep_one-1.0.dist-info/RECORD,,\n"
        "__pycache__/dep_one.cpython-311.pyc,,\nabsent.py,,\n"
    )
    monkeypatch.setattr(sys, "path", [str(site)])
    monkeypatch.setattr(installed, "OWN", ())
    first = software()["dependencies"]
    assert list(first) == ["dep-one"]
    assert first["dep-one"]["version"] == "1.0"
    (info / "INSTALLER").write_text("pip")
    assert software()["dependencies"] == first
    (site / "dep_one.py").write_text("A = 2\n")
    assert software()["dependencies"]["dep-one"]["files"] != first["dep-one"]["files"]
    (info / "direct_url.json").write_text('{"url": "file:///x", "dir_info": {"editable": true}}')
    assert software()["dependencies"]["dep-one"]["files"] is None


def test_this_installation_measures_the_same_twice_with_its_own_packages() -> None:
    first = software()
    assert first["dependencies"] == software()["dependencies"]
    assert first["format"] == "crag/software/v1"
    assert len(first["distributions"]["crag-core"]["files"]) == 64
    assert "cryptography" in first["dependencies"]


def test_the_compiled_kernel_is_measured_with_its_library() -> None:
    from crag_core.vectors import kernel

    if kernel.native() is None:
        pytest.skip("crag-kernel is not installed")
    files = dict(package_files("crag_kernel") or ())
    library = Path(str(kernel.native().__file__))  # type: ignore[union-attr]
    assert files[f"crag_kernel/{library.name}"] == library
    assert library.suffix == ".so"
    found = software()
    assert found["distributions"]["crag-kernel"]["version"] == "0.1.0"
    assert "crag-kernel" not in found["dependencies"]


def test_another_compiled_kernel_is_another_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a folder of this name that the interpreter finds first stands for the installed one
    folder = tmp_path / "crag_kernel"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.setattr(installed, "_dependencies", list)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "crag_kernel", raising=False)
    seen = set()
    for content in (b"one", b"another"):
        (folder / "_native.abi3.so").write_bytes(content)
        importlib.invalidate_caches()
        seen.add(software()["distributions"]["crag-kernel"]["files"])
    assert len(seen) == 2
