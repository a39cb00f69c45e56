"""The fuzz targets run: over their seeds, and over what is near them."""

from __future__ import annotations

import importlib

import pytest

from crag_core.errors import CragError
from fuzz.harness import only_typed

TARGETS = (
    *("fuzz_quote", "fuzz_event_log", "fuzz_spdm_report"),
    *("fuzz_jwe", "fuzz_token", "fuzz_configuration"),
)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_accepts_its_seeds_and_survives_their_neighbours(name: str) -> None:
    module = importlib.import_module(f"fuzz.{name}")
    for seed in module.SEEDS:
        module.target(seed)
        for place in range(0, len(seed), max(1, len(seed) // 40)):
            changed = seed[:place] + bytes([seed[place] ^ 0x10]) + seed[place + 1 :]
            only_typed(module.target)(changed)
            only_typed(module.target)(seed[:place])


def test_a_finding_is_not_swallowed() -> None:
    def broken(_data: bytes) -> None:
        raise IndexError

    def refusing(_data: bytes) -> None:
        raise CragError("no")

    only_typed(refusing)(b"")
    with pytest.raises(IndexError):
        only_typed(broken)(b"")
