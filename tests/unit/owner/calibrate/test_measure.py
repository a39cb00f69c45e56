"""Recall under noise: against the real cipher, and where it must be perfect or chance."""

from __future__ import annotations

import secrets

import numpy as np
import pytest

from crag_core.vectors import VectorCipher
from crag_owner.calibrate.measure import noise_to_spread, recall, spread
from support.clouds import Matrix, cloud

ROWS, DIMENSION = 800, 64


def _by_cipher(vectors: Matrix, questions: Matrix, factor: float, fetch: int) -> float:
    """Recall@10 of the first ``fetch`` rows by the distances that the database sees."""
    cipher = VectorCipher.from_master_key(
        secrets.token_bytes(32),
        collection="test",
        salt=secrets.token_bytes(16),
        dimension=DIMENSION,
        approximation_factor=factor,
    )
    sealed = cipher.encrypt(vectors, [secrets.token_bytes(16) for _ in vectors])
    stored = sealed.vectors.astype(np.float32)
    hits = 0
    for question in questions:
        seen = np.linalg.norm(stored - cipher.encrypt_query(question), axis=1)
        truth = set(np.linalg.norm(vectors - question, axis=1).argsort()[:10].tolist())
        hits += len(truth & set(seen.argsort()[:fetch].tolist()))
    return hits / (10 * len(questions))


def test_measured_recall_is_that_of_the_real_cipher() -> None:
    vectors, _ = cloud(ROWS, DIMENSION)
    questions, _ = cloud(150, DIMENSION, seed=7)
    rng = np.random.default_rng(0)
    for factor in (0.5, 1.5):
        measured = recall(vectors, questions, [factor], rng)[0]
        for fetch in (10, 50):
            expected = _by_cipher(vectors, questions, factor, fetch)
            assert measured.at[fetch] == pytest.approx(expected, abs=0.05)


def test_without_noise_or_with_all_rows_fetched_nothing_is_lost() -> None:
    vectors, _ = cloud(ROWS, DIMENSION)
    rng = np.random.default_rng(1)
    clear, noisy = recall(vectors, None, [0.0, 4.0], rng, [10, ROWS])
    assert clear.at[10] == pytest.approx(1.0)
    assert noisy.at[ROWS] == 1.0
    assert noisy.at[10] < 0.3


def test_recall_grows_with_the_fetch_and_falls_with_the_noise() -> None:
    vectors, _ = cloud(ROWS, DIMENSION)
    measured = recall(vectors, None, [0.25, 1.0, 2.0], np.random.default_rng(2))
    for each in measured:
        values = [each.at[fetch] for fetch in sorted(each.at)]
        assert values == sorted(values)
    assert measured[0].at[50] > measured[1].at[50] > measured[2].at[50]


def test_a_row_is_no_answer_to_itself() -> None:
    twins, _ = cloud(30, DIMENSION)
    vectors = np.repeat(twins, 2, axis=0)
    found = recall(vectors, None, [0.0], np.random.default_rng(3), [1], k=1)
    assert found[0].at[1] == pytest.approx(1.0)


def test_fewer_rows_than_hits_are_all_found() -> None:
    vectors, _ = cloud(5, DIMENSION)
    assert recall(vectors, None, [1.0], np.random.default_rng(4))[0].at[10] == 1.0


def test_spread_is_the_distance_from_the_mean() -> None:
    square = np.asarray([[1, 1], [1, -1], [3, 1], [3, -1]], dtype=np.float32)
    assert spread(square) == pytest.approx(2**0.5)
    assert noise_to_spread(1.0, 0.4) == pytest.approx(0.625)
    assert noise_to_spread(1.0, 0.0) == float("inf")
