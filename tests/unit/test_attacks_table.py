"""docs/reference/attacks.md names tests that exist, and no attack of the list without one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/reference/attacks.md").read_text()
NAMED = re.findall(r"`(test_\w+\.py)::(test_\w+)`", TABLE)
ROWS = [line for line in TABLE.splitlines() if re.match(r"\| (?!attack |-)", line)]


@cache
def functions_of(name: str) -> frozenset[str]:
    """The test functions of a file in tests/attacks."""
    tree = ast.parse((ROOT / "tests/attacks" / name).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_every_test_of_the_table_exists(file: str, test: str) -> None:
    assert test in functions_of(file)


@pytest.mark.parametrize("row", ROWS)
def test_every_attack_has_a_test(row: str) -> None:
    assert re.search(r"`test_\w+\.py::test_\w+`", row)


def test_the_table_is_read() -> None:
    assert len(ROWS) >= 40
    assert len(NAMED) >= len(ROWS)
