"""What distances tell, against plain definitions and against data that tells nothing."""

from __future__ import annotations

import numpy as np
import pytest

from crag_owner.audit import neighbours
from crag_owner.audit.schemes import fresh, perturbed
from support.clouds import cloud

ROWS, DIMENSION = 300, 64


def test_repeated_texts_are_recognised_at_usable_noise_and_not_under_much_of_it() -> None:
    texts, _ = cloud(ROWS, DIMENSION)
    encrypt = fresh(DIMENSION, 0.5)
    found = neighbours.duplicates(encrypt(texts), encrypt(texts))
    assert found.auc > 0.99
    assert found.tpr_at_1_percent > 0.9
    heavy = fresh(DIMENSION, 16.0)
    lost = neighbours.duplicates(heavy(texts), heavy(texts))
    assert lost.tpr_at_1_percent < 0.1


def test_other_texts_in_place_of_the_repeats_are_not_recognised() -> None:
    one, _ = cloud(ROWS, DIMENSION, seed=1)
    two, _ = cloud(ROWS, DIMENSION, seed=2)
    encrypt = fresh(DIMENSION, 0.5)
    found = neighbours.duplicates(encrypt(one), encrypt(two))
    assert found.auc < 0.1
    assert found.tpr_at_1_percent < 0.05


def test_the_area_is_the_chance_that_a_repeat_is_nearer_than_another_text() -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((40, 3)).astype(np.float32)
    again = (rows + 0.5 * rng.standard_normal((40, 3))).astype(np.float32)
    same = np.linalg.norm(again - rows, axis=1)
    apart = np.linalg.norm(again[:, None] - rows[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    other = apart.min(axis=1)
    expected = np.mean([[a < b for b in other] for a in same])
    assert neighbours.duplicates(rows, again).auc == pytest.approx(expected, abs=1e-3)


def test_nearest_rows_share_their_label_in_clusters_and_by_chance_in_noise() -> None:
    texts, topics = cloud(ROWS, DIMENSION, topics=6)
    rows = fresh(DIMENSION, 0.25)(texts)
    chance = neighbours.label_chance(topics)
    assert neighbours.same_label(rows, topics) > 3 * chance
    mixed = list(np.random.default_rng(5).permutation(topics))
    assert neighbours.same_label(rows, mixed) == pytest.approx(chance, abs=0.08)
    assert neighbours.same_label(rows, mixed, 5) == pytest.approx(chance, abs=0.1)


def test_the_chance_of_a_label_counts_pairs() -> None:
    assert neighbours.label_chance(["a", "a", "b", "b"]) == pytest.approx(1 / 3)
    assert neighbours.label_chance(["a", "b"]) == 0.0
    assert neighbours.label_chance(["a"]) == 0.0


def test_distances_survive_the_rotation_and_not_an_exchange_of_rows() -> None:
    texts, _ = cloud(ROWS, DIMENSION)
    rng = np.random.default_rng(6)
    rows = fresh(DIMENSION, 0.0)(texts)
    assert neighbours.distance_correlation(texts, rows, rng) > 0.999
    assert abs(neighbours.distance_correlation(texts, rng.permutation(rows), rng)) < 0.1
    light, heavy = perturbed(texts, 0.5, rng), perturbed(texts, 4.0, rng)
    assert neighbours.distance_correlation(texts, light, rng) > neighbours.distance_correlation(
        texts, heavy, rng
    )
