"""The attack without pairs: overlap breaks the rotation, unrelated texts do not."""

from __future__ import annotations

import numpy as np

from crag_owner.audit import blind
from crag_owner.audit.linear import hit_rate, nearest
from crag_owner.audit.schemes import fresh
from support.clouds import cloud

ROWS, DIMENSION = 400, 64


def _attacked(share: float, *, factor: float = 0.5) -> tuple[float, float]:
    """Share of rows named, and what the attacker sees of it."""
    texts, _ = cloud(ROWS, DIMENSION)
    rng = np.random.default_rng(5)
    held = rng.permutation(ROWS)[: int(share * ROWS)]
    rows = fresh(DIMENSION, factor)(texts)
    alignment = blind.align(rows, texts[held], rng, seconds=10.0)
    found = nearest(alignment.undo(rows), texts)
    return hit_rate(found, np.arange(ROWS)), alignment.agreement


def test_who_holds_the_owners_texts_undoes_the_rotation_without_a_pair() -> None:
    named, agreement = _attacked(1.0)
    assert named > 0.95
    assert agreement > 0.9


def test_three_quarters_of_the_texts_name_the_others_too() -> None:
    assert _attacked(0.75)[0] > 0.9


def test_vectors_without_any_structure_in_common_are_not_named() -> None:
    texts, _ = cloud(ROWS, DIMENSION)
    rows = fresh(DIMENSION, 0.5)(texts)
    rng = np.random.default_rng(6)
    noise = rng.standard_normal((ROWS, DIMENSION)).astype(np.float32)
    other = noise / np.linalg.norm(noise, axis=1, keepdims=True)
    alignment = blind.align(rows, other, rng, seconds=1.0)
    assert hit_rate(nearest(alignment.undo(rows), texts), np.arange(ROWS)) < 0.03
    assert alignment.agreement < 0.6


def test_the_attacker_can_tell_success_from_failure() -> None:
    """Agreement is all that chooses among restarts, so it must follow what is really named."""
    good = _attacked(1.0)
    bad = _attacked(1.0, factor=12.0)
    assert good[0] > bad[0] + 0.5
    assert good[1] > bad[1] + 0.2


def test_the_outcome_does_not_hang_on_the_order_of_the_attackers_texts() -> None:
    """Rows and texts in one order would be a hint that no attacker has."""
    texts, _ = cloud(ROWS, DIMENSION)
    rows = fresh(DIMENSION, 0.5)(texts)
    for order in (np.arange(ROWS), np.random.default_rng(8).permutation(ROWS)):
        alignment = blind.align(rows, texts[order], np.random.default_rng(9), seconds=10.0)
        assert hit_rate(nearest(alignment.undo(rows), texts), np.arange(ROWS)) > 0.95
