"""Vectors on the grid come back from any epoch's ciphertext as the very same points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput
from crag_core.keys import CollectionKeys, MasterKey
from crag_core.vectors import VectorCipher, grid

MASTER = MasterKey(b"k" * 32)


def cipher(epoch: int, dimension: int, *, s: float = 1.0, beta: float = 1.0) -> VectorCipher:
    keys = CollectionKeys(MASTER, "c", bytes([epoch]) * 32)
    return VectorCipher(keys, dimension=dimension, scaling_factor=s, approximation_factor=beta)


def units(seed: int, count: int, dimension: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((count, dimension))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def ids(count: int) -> list[bytes]:
    return [number.to_bytes(16, "big") for number in range(count)]


@given(
    seed=st.integers(0, 2**32),
    dimension=st.sampled_from([1, 2, 5, 24, 384, 1024]),
    factors=st.sampled_from([(1.0, 1.0), (2.0**-8, 1.0), (256.0, 8.0), (1.0, 0.0), (1.0, 50.0)]),
)
@settings(deadline=None, max_examples=25)
def test_points_survive_three_epochs(
    seed: int, dimension: int, factors: tuple[float, float]
) -> None:
    points = grid.points(units(seed, 4, dimension))
    current = points
    for epoch in range(1, 4):
        used = cipher(epoch, dimension, s=factors[0], beta=factors[1])
        sealed, recorded = grid.encrypt(used, current, ids(4))
        current = grid.recover(used, sealed.vectors, sealed.ivs, recorded)
        np.testing.assert_array_equal(current, points)


def test_without_the_record_some_points_would_be_lost() -> None:
    points = grid.points(units(1, 200, 24))
    used = cipher(1, 24)
    sealed, recorded = grid.encrypt(used, points, ids(200))
    blind = grid.recover(used, sealed.vectors, sealed.ivs, [[]] * 200)
    assert (blind != points).any()
    assert sum(map(len, recorded)) > 0


def test_at_the_built_in_dimension_hardly_anything_is_recorded() -> None:
    points = grid.points(units(2, 2000, 384))
    _, recorded = grid.encrypt(cipher(1, 384), points, ids(2000))
    assert sum(map(len, recorded)) < 100


@pytest.mark.parametrize("dimension", [1, 384, 1023, 1024, 4095, 4096, 16000])
def test_the_grid_moves_no_vector_further_than_it_says(dimension: int) -> None:
    assert grid.step(dimension) / 2 * dimension**0.5 <= 1 / 500
    vectors = units(3, 2, dimension)
    moved = grid.vectors(grid.points(vectors))
    assert np.abs(moved - vectors).max() <= grid.step(dimension) / 2
    np.testing.assert_array_equal(grid.points(moved), grid.points(vectors))


def test_a_vector_whose_coordinates_all_round_the_same_way_is_accepted() -> None:
    low = np.full((1, 384), 384**-0.5, dtype=np.float32)
    sealed, recorded = grid.encrypt(cipher(1, 384), grid.points(low), ids(1))
    found = grid.recover(cipher(1, 384), sealed.vectors, sealed.ivs, recorded)
    np.testing.assert_array_equal(found, grid.points(low))


def test_a_vector_far_from_unit_norm_is_refused() -> None:
    with pytest.raises(BadInput, match="norm"):
        grid.encrypt(cipher(1, 24), grid.points(units(4, 1, 24)) // 2, ids(1))
