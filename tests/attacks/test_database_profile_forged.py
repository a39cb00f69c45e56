"""The operator of the database writes a profile of their own, to break whoever reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crag_core.collection import profile as profiles
from crag_core.errors import CragError, IntegrityViolated
from crag_core.keys import MasterKey


def _text(**changes: Any) -> str:
    made, _ = profiles.make(
        "c",
        MasterKey.from_bytes(b"k" * 32),
        salt=bytes(32),
        dimension=384,
        search_mode="database",
        scaling_factor=1.0,
        approximation_factor=1.0,
    )
    content = {**json.loads(made.text()), **changes}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_the_true_profile_is_read() -> None:
    assert profiles.Profile.parse("c", _text()).dimension == 384


@pytest.mark.parametrize(
    "changes",
    [
        {"scaling_factor": float("nan")},
        {"approximation_factor": float("inf")},
        {"salt": ""},
        {"salt": "00" * 8},
        {"salt": "00" * 4096},
        {"salt": 7},
        {"dimension": "384"},
        {"dimension": True},
        {"epoch": -1},
        {"epoch": 10**5000},
        {"check_value": ["kcv1:"]},
        {"search_mode": "none"},
    ],
)
def test_a_forged_profile_is_tampering_and_no_crash(changes: dict[str, Any]) -> None:
    if changes.get("epoch") == 10**5000:
        text = _text().replace('"epoch":1', '"epoch":' + "9" * 5000)
    else:
        text = _text(**changes)
    with pytest.raises(IntegrityViolated):
        profiles.Profile.parse("c", text)


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "null", "", '{"format":"' + "x" * 10**6])
def test_what_is_no_profile_is_refused(text: str) -> None:
    with pytest.raises(CragError):
        profiles.Profile.parse("c", text)
