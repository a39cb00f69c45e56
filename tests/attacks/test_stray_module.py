"""The operator lays modules and path files beside the installed distributions."""

from __future__ import annotations

import py_compile
from collections.abc import Callable
from pathlib import Path

import pytest

from crag_core.attestation import installed, strays
from crag_core.attestation.installed import software
from crag_core.errors import NotSupported


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site-packages folder with one distribution, whose files are measured as dependencies."""
    folder = tmp_path / "site-packages"
    (folder / "honest" / "__pycache__").mkdir(parents=True)
    (folder / "honest" / "__init__.py").write_text("VALUE = 1\n")
    info = folder / "honest-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: honest\nVersion: 1.0\n")
    (info / "RECORD").write_text("honest/__init__.py,,\nhonest-1.0.dist-info/METADATA,,\n")
    monkeypatch.syspath_prepend(str(folder))
    # Only this folder: reading the whole installation takes seconds.
    monkeypatch.setattr(installed, "OWN", ())
    monkeypatch.setattr(installed, "import_folders", lambda: [folder])
    real = installed._dependencies
    monkeypatch.setattr(
        installed, "_dependencies", lambda: [one for one in real() if one[0] == "honest"]
    )
    return folder


def sourceless(site: Path) -> None:
    (site / "x.py").write_text("import os\n")
    py_compile.compile(str(site / "x.py"), cfile=str(site / "evil.pyc"))
    (site / "x.py").unlink()


ATTACKS: dict[str, Callable[[Path], object]] = {
    "evil.py": lambda site: (site / "evil.py").write_text("import os\n"),
    "evil.pth": lambda site: (site / "evil.pth").write_text("import evil\n"),
    "usercustomize.py": lambda site: (site / "usercustomize.py").write_text(""),
    "evil.abi3.so": lambda site: (site / "evil.abi3.so").write_bytes(b"\x7fELF"),
    "evil.pyc": sourceless,
    "honest/__init__.abi3.so": lambda site: (site / "honest/__init__.abi3.so").write_bytes(b"x"),
    "honest/new.py": lambda site: (site / "honest" / "new.py").write_text(""),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_stray_module_or_path_file_changes_the_measurement(site: Path, name: str) -> None:
    before = software()
    assert before["strays"] == {}
    assert before["dependencies"]["honest"]["files"]
    ATTACKS[name](site)
    assert list(software()["strays"]) == [f"site-packages/{name}"]
    first = software()["strays"]
    (site / name).write_bytes((site / name).read_bytes() + b"#")
    assert software()["strays"] != first


def test_a_stray_in_the_source_tree_of_an_editable_install_changes_the_measurement(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "src"
    (tree / "crag_fake").mkdir(parents=True)
    (tree / "crag_fake" / "__init__.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(tree))
    monkeypatch.setattr(installed, "OWN", ("crag-fake",))
    assert software()["strays"] == {}
    (tree / "evil.py").write_text("import os\n")
    assert list(software()["strays"]) == ["src/evil.py"]
    (tree / "evil.py").rename(tree / "crag_fake" / "evil.py")
    assert software()["strays"] == {}


def test_what_is_never_imported_changes_nothing(site: Path) -> None:
    before = software()
    (site / "notes.txt").write_text("x")
    (site / ".hidden").mkdir()
    (site / ".hidden" / "evil.py").write_text("x")
    (site / "honest" / "__pycache__" / "__init__.cpython-311.pyc").write_bytes(b"x")
    assert software() == before


def test_a_linked_folder_beside_the_distributions_is_refused(site: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (site / "evil").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotSupported, match="is a link"):
        software()


def test_the_path_file_of_an_editable_install_may_only_name_our_packages(tmp_path: Path) -> None:
    root = tmp_path / "src"
    root.mkdir()
    file = tmp_path / "_crag.pth"
    for text, honest in (
        (f"{root}\n", True),
        (f"{root}", True),
        (f"{root}\nimport evil\n", False),
        (f"import evil; {root}\n", False),
        (f"{root}\n/elsewhere\n", False),
        ("/elsewhere\n", False),
        ("", False),
    ):
        file.write_text(text)
        assert strays.is_plain_pointer(file, {root}) is honest
    assert not strays.is_plain_pointer(tmp_path / "missing.pth", {root})


def test_the_name_of_the_interpreter_in_a_script_does_not_matter(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for machine in ("/a/python", "/b/python"):
        (site / "tool.py").write_text(f"#!{machine}\nprint()\n")
        found.append(software()["strays"])
    assert found[0] == found[1] != {}
    for first in (b"#!/a/python coding:utf-7", b"#!/a\rimport evil", b"#!/a\x0c\xff"):
        (site / "tool.py").write_bytes(first + b"\nprint()\n")
        assert software()["strays"] != found[0]
