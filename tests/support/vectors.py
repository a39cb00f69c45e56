"""Recorded evidence beside the project; see its README. It is never copied into the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
GPU_NONCE = bytes.fromhex("87d8e24ab336adafe228d49e83d745f6dba4ae505372b6a5704820856b343fec")
TDX_TIME = 1750331763

needed = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the recorded evidence (../shared/vectors) is not on this machine"
)


def data(path: str) -> bytes:
    """The bytes of a vector."""
    return (FOLDER / path).read_bytes()


def collateral(name: str) -> dict[str, Any]:
    """A recorded collateral."""
    found = json.loads(data(f"collateral/{name}_collateral.json"))
    assert isinstance(found, dict)
    return found
