from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput
from crag_core.vectors import SCHEME, VectorCipher

MASTER, SALT = b"test-masterkey-12345", bytes(range(16))


def cipher(dimension: int = 384, **changes: Any) -> VectorCipher:
    parameters: dict[str, Any] = {"collection": "default", "salt": SALT, **changes}
    key = parameters.pop("key", MASTER)
    return VectorCipher.from_master_key(key, dimension=dimension, **parameters)


def units(rows: int, dimension: int = 384, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, dimension))
    norms = np.linalg.norm(drawn, axis=1, keepdims=True)
    return (drawn / norms).astype(np.float32)


def ids(rows: int, seed: int = 0) -> list[bytes]:
    return [np.random.default_rng([seed, row]).bytes(16) for row in range(rows)]


dimensions = st.integers(1, 70) | st.sampled_from([128, 255, 384, 385, 768, 1024, 4096, 5000])
scalings = st.sampled_from([1.0, 0.5, 3.0, 2.0**-8, 256.0])
approximations = st.sampled_from([0.0, 0.1, 1.0, 2.5])


@given(dimension=dimensions, scaling=scalings, approximation=approximations, rows=st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_decrypting_restores_the_vectors(
    dimension: int, scaling: float, approximation: float, rows: int
) -> None:
    made = cipher(dimension, scaling_factor=scaling, approximation_factor=approximation)
    plain = units(rows, dimension)
    exact, ivs = made.encrypt_float32(plain, ids(rows))
    sealed = made.encrypt(plain, ids(rows))
    assert exact.shape == sealed.vectors.shape == plain.shape
    assert (exact.dtype, sealed.vectors.dtype) == (np.float32, np.float16)
    assert np.array_equal(ivs, sealed.ivs) and ivs.shape == (rows, 12)
    restored = made.decrypt(exact, ivs)
    assert restored.dtype == np.float32
    np.testing.assert_allclose(restored, plain, 0, 1e-6)
    # float16 keeps 11 bits; norms, because rotating back mixes the rounding of all coordinates
    rounding = 2**-11 * (1 + approximation / 4) + np.sqrt(dimension) * 2**-25 / scaling + 1e-6
    halved = made.decrypt(sealed.vectors, sealed.ivs)
    assert (np.linalg.norm(halved - plain, axis=1) <= rounding).all()


@pytest.mark.parametrize("rows", [383, 384, 385, 1000])
def test_batches_of_any_size_encrypt_each_row_as_if_alone(rows: int) -> None:
    made = cipher(24)
    plain, names = units(rows, 24), ids(rows)
    together, ivs = made.encrypt_float32(plain, names)
    for row in (0, rows // 2, rows - 1):
        alone, iv = made.encrypt_float32(plain[row : row + 1], names[row : row + 1])
        assert np.array_equal(iv[0], ivs[row])
        assert np.array_equal(alone[0], together[row])


def test_encrypting_a_row_again_shows_nothing_new() -> None:
    plain, names = units(3), ids(3)
    first, second = cipher().encrypt(plain, names), cipher().encrypt(plain, names)
    assert np.array_equal(first.ivs, second.ivs)
    assert np.array_equal(first.vectors, second.vectors)


def test_another_id_or_another_vector_gets_another_iv() -> None:
    same_vector = np.repeat(units(1), 3, axis=0)
    sealed = cipher().encrypt(same_vector, ids(3))
    assert len({iv.tobytes() for iv in sealed.ivs}) == 3
    changed = same_vector.copy()
    changed[1, 0] = np.nextafter(changed[1, 0], np.float32(2))
    same_id = cipher().encrypt(changed[:2], ids(1) * 2)
    assert same_id.ivs[0].tobytes() != same_id.ivs[1].tobytes()


@pytest.mark.parametrize(
    "change", [{"key": b"other"}, {"collection": "other"}, {"salt": bytes(16)}]
)
def test_another_key_collection_or_salt_neither_matches_nor_decrypts(
    change: dict[str, Any],
) -> None:
    plain = units(50)
    ours, theirs = cipher(), cipher(**change)
    sealed = ours.encrypt(plain, ids(50))
    similarity = np.einsum("ij,ij->i", theirs.decrypt(sealed.vectors, sealed.ivs), plain)
    assert np.abs(similarity).max() < 0.5
    assert np.abs(np.einsum("ij,ij->i", ours.rotate(plain), theirs.rotate(plain))).max() < 0.5


def test_noise_stays_in_its_ball_and_fills_it_evenly() -> None:
    made = cipher(3, approximation_factor=2.0)
    plain = np.repeat(units(1, 3), 20_000, axis=0)
    exact, _ = made.encrypt_float32(plain, ids(20_000))
    noise = (exact - made.rotate(plain)).astype(float)
    lengths = np.linalg.norm(noise, axis=1)
    assert lengths.max() <= 0.5 + 1e-6
    # the share of a ball's volume within a length is uniform; 5 standard errors of its mean
    volumes = np.sort((lengths / 0.5) ** 3)
    assert np.abs(volumes - np.linspace(0, 1, len(volumes))).max() < 0.02
    assert np.abs(noise.mean(axis=0)).max() < 5 * 0.5 / np.sqrt(5 * len(noise))


@given(seed=st.integers(0, 10_000), approximation=st.floats(0.0, 0.4))
@settings(max_examples=60, deadline=None)
def test_distances_that_differ_by_beta_keep_their_order(seed: int, approximation: float) -> None:
    made = cipher(8, approximation_factor=approximation)
    plain = units(12, 8, seed)
    exact, _ = made.encrypt_float32(plain, ids(12, seed))
    near = np.linalg.norm(plain[1:] - plain[0], axis=1)
    seen = np.linalg.norm(exact[1:] - exact[0], axis=1)
    clear = near[:, None] < near[None, :] - approximation - 1e-5
    assume(clear.any())
    assert (seen[:, None] < seen[None, :])[clear].all()


@pytest.mark.parametrize("dimension", [1, 2, 3, 63, 384, 385, 1000, 5000])
def test_the_rotation_keeps_lengths_and_angles_and_is_undone(dimension: int) -> None:
    made = cipher(dimension)
    plain = units(20, dimension)
    rotated = made.rotate(plain)
    np.testing.assert_allclose(rotated @ rotated.T, plain @ plain.T, 0, 2e-6)
    np.testing.assert_allclose(made._rotation.backward(rotated), plain, 0, 1e-6)


@pytest.mark.parametrize("dimension", [384, 385, 768, 1000])
def test_the_rotation_spreads_every_coordinate_like_a_random_one(dimension: int) -> None:
    matrix = cipher(dimension).rotate(np.eye(dimension, dtype=np.float32)).astype(float)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(dimension), 0, 1e-6)
    kurtosis = (matrix**4).mean() / (matrix**2).mean() ** 2
    assert 2.9 < kurtosis < 3.1
    assert np.abs(matrix).max() < 8 / np.sqrt(dimension)


def test_scores_are_the_inner_products_of_the_plaintexts() -> None:
    made = cipher(approximation_factor=2.0, scaling_factor=2.0)
    plain, query = units(300), units(1, seed=9)[0]
    sealed = made.encrypt(plain, ids(300))
    scores = made.scores(query, sealed.vectors, sealed.ivs)
    assert scores.dtype == np.float32 and scores.shape == (300,)
    np.testing.assert_allclose(scores, plain @ query, 0, 1e-3)
    denoised = made.denoise(sealed.vectors, sealed.ivs)
    np.testing.assert_allclose(denoised, made.rotate(plain), 0, 1e-3)


def test_removing_the_noise_restores_the_plaintext_ranking() -> None:
    made = cipher(approximation_factor=2.0)
    plain, query = units(2000, seed=3), units(1, seed=4)[0]
    sealed = made.encrypt(plain, ids(2000))
    best = np.argsort(-(plain @ query))[:10]
    distances = np.linalg.norm(sealed.vectors.astype(float) - made.encrypt_query(query), axis=1)
    assert set(np.argsort(distances)[:10]) != set(best)
    again = np.argsort(-made.scores(query, sealed.vectors, sealed.ivs))[:10]
    assert len(set(again) & set(best)) >= 9


def test_a_query_is_perturbed_the_same_way_each_time_and_unlike_a_row() -> None:
    made, query = cipher(), units(1)[0]
    encrypted = made.encrypt_query(query)
    assert encrypted.dtype == np.float32 and encrypted.shape == (384,)
    np.testing.assert_array_equal(encrypted, cipher().encrypt_query(query))
    noise = encrypted - made.rotate(query)
    assert 0.2 < np.linalg.norm(noise) <= 0.25 + 1e-6
    row, _ = made.encrypt_float32(query[None], [bytes(16)])
    other = row[0] - made.rotate(query)
    assert abs(float(noise @ other)) < 0.3 * 0.25**2


def test_ten_generations_of_encryption_keep_vectors_usable() -> None:
    plain = units(20)
    current = plain
    for generation in range(10):
        made = cipher(salt=bytes([generation]) * 16)
        sealed = made.encrypt(current, ids(20))
        current = made.decrypt(sealed.vectors, sealed.ivs)
    assert np.abs(current - plain).max() < 10 * 1e-4
    assert np.abs(np.linalg.norm(current, axis=1) - 1).max() < 5e-4
    assert np.argmax(current @ plain.T, axis=1).tolist() == list(range(20))


def test_threads_share_one_cipher() -> None:
    made = cipher(64)
    batches = [(units(500, 64, seed), ids(500, seed)) for seed in range(6)]
    expected = [made.encrypt(*batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: made.encrypt(*batch), batches * 3))
    for number, sealed in enumerate(found):
        assert np.array_equal(sealed.ivs, expected[number % 6].ivs)
        assert np.array_equal(sealed.vectors, expected[number % 6].vectors)


def test_arguments_are_left_as_they_were() -> None:
    made, plain = cipher(16), units(4, 16)
    before = plain.copy()
    exact, ivs = made.encrypt_float32(plain, ids(4))
    kept = exact.copy()
    made.decrypt(exact, ivs)
    made.encrypt_query(plain[0])
    assert np.array_equal(plain, before)
    assert np.array_equal(exact, kept)


def test_other_float_types_and_layouts_are_converted() -> None:
    made, plain = cipher(16), units(4, 16)
    expected = made.encrypt(plain, ids(4))
    wide = np.repeat(plain, 2, axis=1)[:, ::2]
    for given_vectors in (plain.astype(float), np.asfortranarray(plain), wide, plain.tolist()):
        assert np.array_equal(made.encrypt(given_vectors, ids(4)).vectors, expected.vectors)
    turned = np.asfortranarray(expected.vectors)
    np.testing.assert_allclose(made.decrypt(turned, expected.ivs), plain, 0, 1e-3)


def with_value(value: float) -> np.ndarray:
    vectors = units(3, 8)
    vectors[1, 2] = value
    return vectors


@pytest.mark.parametrize(
    "vectors",
    [
        with_value(np.nan),
        with_value(np.inf),
        with_value(-np.inf),
        with_value(1e30),
        units(3, 8) * np.array([[1], [0], [1]]),
        units(3, 8) * np.array([[1], [1.002], [1]]),
        units(3, 8) * np.array([[1], [0.998], [1]]),
        np.full((3, 8), 1e300),
        units(3, 7),
        units(3, 9),
        units(1, 8)[0],
        units(3, 8)[None],
        np.ones((3, 8), dtype=np.int64),
        np.ones((3, 8), dtype=complex),
        [[1.0] * 8, [1.0] * 7, [1.0] * 8],
        [["a"] * 8] * 3,
        None,
    ],
)
def test_vectors_that_are_not_finite_unit_rows_are_bad_input(vectors: Any) -> None:
    for method in (cipher(8).encrypt, cipher(8).encrypt_float32):
        with pytest.raises(BadInput) as refused:
            method(vectors, ids(3))
        assert refused.value.hint


def test_the_wrong_row_is_named() -> None:
    with pytest.raises(BadInput, match="Vector 1 is not finite"):
        cipher(8).encrypt(with_value(np.nan), ids(3))
    with pytest.raises(BadInput, match=r"Vector 2 has norm 0\.0000"):
        cipher(8).encrypt(units(3, 8) * np.array([[1], [1], [0]]), ids(3))


@pytest.mark.parametrize("norm", [0.9992, 1.0008])
def test_norms_within_the_tolerance_are_accepted_as_they_are(norm: float) -> None:
    made, plain = cipher(8), units(2, 8) * np.float32(norm)
    exact, ivs = made.encrypt_float32(plain, ids(2))
    np.testing.assert_allclose(made.decrypt(exact, ivs), plain, 0, 1e-6)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ids(2),
        ids(4),
        [b"x" * 15, b"x" * 16, b"x" * 17],
        ["x" * 16] * 3,
        [None] * 3,
        [b"x" * 8] * 6,
        None,
    ],
)
def test_other_than_one_id_of_16_bytes_per_vector_is_bad_input(names: Any) -> None:
    with pytest.raises(BadInput):
        cipher(8).encrypt(units(3, 8), names)


@pytest.mark.parametrize(
    "query", [units(1, 8), units(1, 7)[0], np.zeros(8), np.full(8, np.nan), np.float32(1), "text"]
)
def test_queries_of_another_shape_or_norm_are_bad_input(query: Any) -> None:
    made = cipher(8)
    sealed = made.encrypt(units(2, 8), ids(2))
    with pytest.raises(BadInput):
        made.encrypt_query(query)
    if np.ndim(query) != 2:
        with pytest.raises(BadInput):
            made.rotate(query)
        with pytest.raises(BadInput):
            made.scores(query, sealed.vectors, sealed.ivs)


@pytest.mark.parametrize(
    ("vectors", "ivs"),
    [
        (np.zeros((2, 7), np.float16), np.zeros((2, 12), np.uint8)),
        (np.zeros(8, np.float16), np.zeros((1, 12), np.uint8)),
        (np.zeros((2, 8), np.float64), np.zeros((2, 12), np.uint8)),
        (np.zeros((2, 8), np.int16), np.zeros((2, 12), np.uint8)),
        (np.zeros((2, 8), np.float16), np.zeros((1, 12), np.uint8)),
        (np.zeros((2, 8), np.float16), np.zeros((2, 11), np.uint8)),
        (np.zeros((2, 8), np.float16), np.zeros((2, 12), np.int8)),
        (np.full((2, 8), np.nan, np.float16), np.zeros((2, 12), np.uint8)),
        (np.full((2, 8), np.inf, np.float32), np.zeros((2, 12), np.uint8)),
        (np.full((2, 8), 0x7D00, np.uint16).view(np.float16), np.zeros((2, 12), np.uint8)),
        ([[1.0], [1.0, 2.0]], np.zeros((2, 12), np.uint8)),
    ],
)
def test_stored_vectors_of_another_form_are_bad_input(vectors: Any, ivs: Any) -> None:
    with pytest.raises(BadInput):
        cipher(8).decrypt(vectors, ivs)


@given(
    vectors=st.lists(st.lists(st.floats(width=32), min_size=4, max_size=4), min_size=1, max_size=3)
)
@settings(max_examples=120, deadline=None)
def test_arbitrary_numbers_are_encrypted_faithfully_or_refused(vectors: list[list[float]]) -> None:
    made, given_vectors = cipher(4), np.array(vectors, np.float32)
    try:
        exact, ivs = made.encrypt_float32(given_vectors, ids(len(vectors)))
    except BadInput:
        norms = np.linalg.norm(given_vectors.astype(float), axis=1)
        assert not (np.abs(norms - 1) < 0.99e-3).all()
        return
    np.testing.assert_allclose(made.decrypt(exact, ivs), given_vectors, 0, 1e-6)


@pytest.mark.parametrize("dimension", [0, -1, 16_001, 1.5, "3", True, None])
def test_impossible_dimensions_are_bad_input(dimension: Any) -> None:
    with pytest.raises(BadInput):
        cipher(dimension)


@pytest.mark.parametrize("dimension", [1, 16_000])
def test_the_smallest_and_the_largest_dimension_work(dimension: int) -> None:
    made, plain = cipher(dimension), units(2, dimension)
    exact, ivs = made.encrypt_float32(plain, ids(2))
    np.testing.assert_allclose(made.decrypt(exact, ivs), plain, 0, 1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"scaling_factor": 0.0},
        {"scaling_factor": -1.0},
        {"scaling_factor": np.nan},
        {"scaling_factor": np.inf},
        {"scaling_factor": 2.0**-9},
        {"scaling_factor": 1e6},
        {"approximation_factor": -0.1},
        {"approximation_factor": np.nan},
        {"approximation_factor": np.inf},
        {"approximation_factor": 4 * 65_504.0},
        {"scaling_factor": 256.0, "approximation_factor": 1020.0},
        {"salt": b"short"},
        {"collection": ""},
        {"key": b""},
    ],
)
def test_parameters_out_of_range_are_bad_input(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        cipher(8, **change)


def test_the_largest_allowed_factors_never_overflow_float16() -> None:
    made = cipher(1, scaling_factor=256.0, approximation_factor=1019.0)
    sealed = made.encrypt(np.ones((3000, 1)), ids(3000))
    assert np.isfinite(sealed.vectors).all()
    assert np.abs(sealed.vectors).max() > 60_000


def test_it_shows_parameters_but_no_key_and_is_not_pickled() -> None:
    made = cipher(8)
    assert SCHEME in repr(made)
    assert "masterkey" not in repr(made)
    with pytest.raises(TypeError):
        pickle.dumps(made)
