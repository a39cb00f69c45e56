"""A Trustee that hands over another key than the owner's is noticed by the check value."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from play import DATA_KEY, MODEL_KEY

from support.house import House


@contextmanager
def _resource(house: House, role: str, name: str, content: bytes) -> Iterator[None]:
    """Put other bytes under a resource's name, and the right ones back afterwards."""
    folder = Path(house.trustees[role]["admin_key"]).parent / "resources"
    path = folder / name.removeprefix("kbs:///")
    right = path.read_bytes()
    replaced = house.root / "replaced"
    replaced.write_bytes(content)
    at = house.trustees[role]
    admin = ("--trustee", at["url"], "--admin-key-file", at["admin_key"])
    party = getattr(house, role)
    party.run("trustee", "resource", "set", name, "--file", str(replaced), *admin)
    try:
        yield
    finally:
        replaced.write_bytes(right)
        party.run("trustee", "resource", "set", name, "--file", str(replaced), *admin)
        replaced.unlink()


def _key_of(house: House, role: str, name: str) -> bytes:
    folder = Path(house.trustees[role]["admin_key"]).parent / "resources"
    return (folder / name.removeprefix("kbs:///")).read_bytes()


@pytest.mark.parametrize("kind", ["random", "swapped"])
def test_wrong_data_key_is_refused(house: House, kind: str) -> None:
    wrong = os.urandom(32) if kind == "random" else _key_of(house, "provider", MODEL_KEY)
    with _resource(house, "owner", DATA_KEY, wrong):
        code, error = house.refused(house.variant("provider"))
    assert code == 12
    assert "check value" in error["message"]
    assert wrong.hex() not in str(error)


def test_wrong_model_key_opens_nothing(house: House) -> None:
    with _resource(house, "provider", MODEL_KEY, os.urandom(32).hex().encode()):
        code, error = house.refused(house.variant("provider"))
    assert code == 12
    assert "model" in error["message"]
