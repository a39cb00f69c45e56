"""Each role installs apart, with plain pip, from its own lock, and brings only what it needs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four wheels that every installation is made of, built from this source."""
    folder = tmp_path_factory.mktemp("wheels")
    for package in ("core", "owner", "provider", "user"):
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
            cwd=PROJECT / "src" / f"crag_{package}",
            check=True,
            capture_output=True,
        )
    return folder


@pytest.mark.parametrize("package", ["core", "owner", "provider", "user"])
def test_a_wheel_holds_its_own_package_with_its_data(wheels: Path, package: str) -> None:
    (wheel,) = wheels.glob(f"crag_{package}-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert inside == {f"crag_{package}"}
    source = PROJECT / "src" / f"crag_{package}"
    for pattern in ("*.py", "*.rego", "*.bin", "*.html", "py.typed"):
        for path in source.rglob(pattern):
            assert f"crag_{package}/{path.relative_to(source).as_posix()}" in names


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler")
def test_the_kernels_wheel_holds_its_library_and_needs_nothing(tmp_path: Path) -> None:
    source = tmp_path / "crag_kernel"
    shutil.copytree(PROJECT / "src" / "crag_kernel", source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("crag_kernel-*.whl")
    assert "-cp311-abi3-" in wheel.name
    packed = zipfile.ZipFile(wheel)
    inside = {name for name in packed.namelist() if ".dist-info" not in name}
    names = ("__init__.py", "_native.abi3.so", "_native.pyi", "py.typed")
    assert inside == {f"crag_kernel/{name}" for name in names}
    (about,) = (name for name in packed.namelist() if name.endswith("METADATA"))
    assert "Requires-Dist" not in packed.read(about).decode()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("role", "absent"),
    [
        ("owner", ["openai", "xllamacpp", "fastapi", "crag_kernel", "crag_provider", "crag_user"]),
        ("provider", ["crag_kernel", "crag_owner", "crag_user"]),
        (
            "user",
            ["numpy", "langchain_core", "psycopg", "crag_kernel", "crag_owner", "crag_provider"],
        ),
    ],
)
def test_a_role_installs_alone_from_its_lock(
    wheels: Path, tmp_path: Path, role: str, absent: list[str]
) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    pip = [home / "bin" / "python", "-m", "pip", "install", "--quiet"]
    lock = PROJECT / "requirements" / f"{role}.lock"
    subprocess.run([*pip, "--require-hashes", "-r", lock], check=True)
    files = [next(wheels.glob(f"crag_{name}-*.whl")) for name in ("core", role)]
    subprocess.run([*pip, "--no-deps", *files], check=True)
    subprocess.run([home / "bin" / "python", "-m", "pip", "check"], check=True)
    done = subprocess.run(
        [home / "bin" / f"crag-{role}", "config", "show", "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert '"settings"' in done.stdout
    for module in absent:
        missing = subprocess.run([home / "bin" / "python", "-c", f"import {module}"], check=False,
                                 capture_output=True)  # fmt: skip
        assert missing.returncode == 1, f"{module} came along with crag-{role}"
