"""Attacks with known pairs: they succeed where they must, and get nothing from wrong pairs."""

from __future__ import annotations

import numpy as np
import pytest

from crag_owner.audit import known_pairs
from crag_owner.audit.attacks import PairAttack, pair_counts
from crag_owner.audit.linear import Indices, Matrix, hit_rate
from crag_owner.audit.schemes import fresh
from support.clouds import cloud

ROWS, DIMENSION = 400, 64
FITS = [
    known_pairs.by_procrustes,
    known_pairs.by_centred_procrustes,
    known_pairs.by_ridge,
    known_pairs.by_anchors,
    known_pairs.by_regression,
    known_pairs.by_icp,
]


def _attacked(attack: PairAttack, pairs: int, *, factor: float, wrong: bool = False) -> float:
    texts, _ = cloud(ROWS, DIMENSION)
    rows: Matrix = fresh(DIMENSION, factor)(texts)
    order: Indices = np.random.default_rng(3).permutation(ROWS)
    known, rest = order[:pairs], order[pairs:]
    told = texts[np.roll(known, 1)] if wrong else texts[known]
    return hit_rate(attack(rows, known, told, texts)[rest], rest)


@pytest.mark.parametrize("attack", FITS)
def test_as_many_pairs_as_dimensions_undo_a_rotation_without_noise(attack: PairAttack) -> None:
    assert _attacked(attack, DIMENSION, factor=0.0) > 0.97


@pytest.mark.parametrize("attack", FITS)
def test_pairs_of_the_wrong_texts_name_no_more_rows_than_chance(attack: PairAttack) -> None:
    assert _attacked(attack, DIMENSION, factor=0.5, wrong=True) < 0.04


def test_few_pairs_fail_alone_and_suffice_with_a_list_of_candidates() -> None:
    alone = _attacked(known_pairs.by_procrustes, 8, factor=0.25)
    helped = _attacked(known_pairs.by_icp, 8, factor=0.25)
    assert alone < 0.3
    assert helped > 0.95


def test_who_knows_how_much_the_noise_is_needs_fewer_pairs() -> None:
    for factor in (0.5, 1.0, 2.0):
        best = _attacked(known_pairs.by_regression, DIMENSION // 4, factor=factor)
        for other in FITS[:4]:
            assert best > _attacked(other, DIMENSION // 4, factor=factor) + 0.1


def test_more_noise_costs_the_attacker() -> None:
    few = _attacked(known_pairs.by_procrustes, 2 * DIMENSION, factor=0.25)
    many = _attacked(known_pairs.by_procrustes, 2 * DIMENSION, factor=4.0)
    assert few > 0.95
    assert many < 0.5 * few


def test_the_ladder_of_pairs_reaches_from_4_to_4d_and_leaves_rows_to_name() -> None:
    assert pair_counts(384, 2627) == [4, 8, 16, 24, 32, 64, 96, 128, 192, 384, 768, 1536]
    assert pair_counts(384, 40) == [4, 8, 16, 24, 32]
    assert pair_counts(384, 4) == []
