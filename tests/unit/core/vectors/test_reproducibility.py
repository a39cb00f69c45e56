"""What must be the same on every machine, against the plain implementation and across kernels."""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys

import numpy as np
import pytest

from crag_core.keys import CollectionKeys, MasterKey
from crag_core.vectors import VectorCipher, noise
from crag_core.vectors.ivs import IvMaker
from crag_core.vectors.keystream import Keystream
from crag_core.vectors.noise import BallNoise, noise_table
from crag_core.vectors.rotation import Rotation
from support.sapr_reference import TABLE, Reference, aes_ctr, f32_bytes

KEY = bytes(range(32))
MASTER, COLLECTION, SALT = b"reproducible", "default", bytes(range(16))
DIMENSIONS = [1, 2, 3, 6, 7, 8, 63, 384, 385, 768, 1024]


def random_ivs(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 12)).astype(np.uint8)


def keys() -> CollectionKeys:
    return CollectionKeys(MasterKey.from_bytes(MASTER), COLLECTION, SALT)


@pytest.mark.parametrize("length", [1, 15, 16, 17, 772, 4096])
def test_the_batched_keystream_is_aes_256_ctr(length: int) -> None:
    ivs = random_ivs(5)
    words = Keystream(KEY, length).words(ivs)
    for row, iv in zip(words, ivs, strict=True):
        assert row.tobytes()[:length] == aes_ctr(KEY, iv.tobytes(), length)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize(("scaling", "approximation"), [(1.0, 1.0), (0.37, 2.3)])
def test_noise_is_bit_equal_to_the_plain_implementation(
    dimension: int, scaling: float, approximation: float
) -> None:
    reference = Reference(MASTER, COLLECTION, SALT, dimension, scaling, approximation)
    ivs = random_ivs(12)
    key = keys().derive("vector/noise", 32, dimension.to_bytes(4, "big"))
    drawn = BallNoise(key, dimension, scaling * approximation / 4.0).draw(ivs)
    for row, iv in zip(drawn, ivs, strict=True):
        assert row.astype("<f4").tobytes() == f32_bytes(reference.noise(iv.tobytes()))


@pytest.mark.parametrize("rows", [0, 1, 5, 383, 384, 385, 900])
def test_noise_does_not_depend_on_the_batch(rows: int) -> None:
    source = BallNoise(KEY, 24, 0.25)
    ivs = random_ivs(rows)
    batch = source.batch(400)
    parts = [batch.draw(ivs[i : i + 400]).copy() for i in range(0, rows, 400)]
    together = np.concatenate([np.empty((0, 24), np.float32), *parts])
    for row, iv in zip(together, ivs, strict=True):
        assert np.array_equal(row, source.draw(iv[None])[0])


@pytest.mark.parametrize("dimension", [1, 2, 3, 6, 7, 64, 100])
def test_every_row_of_the_rotation_is_bit_equal_to_the_plain_implementation(
    dimension: int,
) -> None:
    check_rotation_rows(dimension, range(dimension))


@pytest.mark.parametrize("dimension", [384, 385, 768, 1024])
def test_rows_of_large_rotations_are_bit_equal_to_the_plain_implementation(dimension: int) -> None:
    check_rotation_rows(dimension, [0, 1, dimension // 2, dimension - 1])


def check_rotation_rows(dimension: int, rows: range | list[int]) -> None:
    reference = Reference(MASTER, COLLECTION, SALT, dimension)
    key = keys().derive("vector/rotation", 32, dimension.to_bytes(4, "big"))
    basis = np.eye(dimension, dtype=np.float32)
    matrix = Rotation(key, dimension).forward(basis)
    for row in rows:
        expected = reference.rotate([float(value) for value in basis[row]])
        assert matrix[row].tobytes() == f32_bytes(expected)


@pytest.mark.parametrize("dimension", [1, 3, 48, 63, 384, 385, 1000, 16_000])
@pytest.mark.parametrize("rows", [2, 15, 16, 400])
def test_a_rotated_row_does_not_depend_on_its_batch(dimension: int, rows: int) -> None:
    rotation = Rotation(KEY, dimension)
    vectors = np.random.default_rng(3).standard_normal((rows, dimension)).astype(np.float32)
    rotated = rotation.forward(vectors)
    returned = rotation.backward(rotated)
    for row in (0, rows // 2, rows - 1):
        alone = rotation.forward(vectors[row : row + 1])
        assert alone.tobytes() == rotated[row].tobytes()
        assert rotation.backward(alone).tobytes() == returned[row].tobytes()


@pytest.mark.parametrize("dimension", [1, 6, 384])
def test_ivs_are_those_of_the_plain_implementation(dimension: int) -> None:
    reference = Reference(MASTER, COLLECTION, SALT, dimension)
    extra = dimension.to_bytes(4, "big")
    vectors = np.random.default_rng(2).standard_normal((700, dimension)).astype(np.float32)
    ids = [os.urandom(16) for _ in vectors]
    rows = IvMaker(keys().derive("vector/iv", 32, extra)).for_rows(vectors, ids)
    queries = IvMaker(keys().derive("vector/query-iv", 32, extra)).for_queries(vectors)
    for number in (0, 1, 511, 512, 699):
        vector = [float(value) for value in vectors[number]]
        assert rows[number].tobytes() == reference.row_iv(ids[number], vector)
        assert queries[number].tobytes() == reference.query_iv(vector)


PROGRAM = """
import hashlib
import numpy as np
from crag_core.vectors.noise import BallNoise
from crag_core.vectors.rotation import Rotation
total = hashlib.sha256()
ivs = np.arange(12 * 500).reshape(500, 12).astype(np.uint8)
for d in (6, 384, 385):
    total.update(BallNoise(bytes(range(32)), d, 0.25).draw(ivs).tobytes())
    rotation = Rotation(bytes(range(32)), d)
    rotated = rotation.forward(np.linspace(-1, 1, 20 * d).astype("f4").reshape(20, d))
    total.update(rotated.tobytes() + rotation.backward(rotated).tobytes())
print(total.hexdigest())
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"OPENBLAS_CORETYPE": "Prescott", "OPENBLAS_NUM_THREADS": "1"},
        {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL "
         "AVX512_ICL AVX512_SPR X86_V4 AVX2 FMA3 X86_V3"},
    ],
    ids=["old BLAS kernels", "numpy without AVX"],
)  # fmt: skip
def test_noise_and_rotation_are_the_same_under_other_kernels(variables: dict[str, str]) -> None:
    total = hashlib.sha256()
    ivs = np.arange(12 * 500).reshape(500, 12).astype(np.uint8)
    for d in (6, 384, 385):
        total.update(BallNoise(KEY, d, 0.25).draw(ivs).tobytes())
        rotation = Rotation(KEY, d)
        rotated = rotation.forward(np.linspace(-1, 1, 20 * d).astype("f4").reshape(20, d))
        total.update(rotated.tobytes() + rotation.backward(rotated).tobytes())
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == total.hexdigest()


def test_the_table_is_the_rounded_inverse_normal_distribution() -> None:
    normal = statistics.NormalDist()
    for index, value in enumerate(TABLE):
        exact = 7000 * normal.inv_cdf((index + 0.5) / 65536)
        assert abs(value - exact) <= 0.5 + 1e-6
        assert TABLE[65535 - index] == -value
    assert noise_table().tolist() == list(TABLE)


def test_another_table_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from crag_core.errors import IntegrityViolated

    monkeypatch.setattr(noise, "TABLE_SHA256", "0" * 64)
    noise.noise_integers.cache_clear()
    noise_table.cache_clear()
    try:
        with pytest.raises(IntegrityViolated):
            VectorCipher.from_master_key(MASTER, collection="c", salt=SALT, dimension=3)
    finally:
        noise.noise_integers.cache_clear()
        noise_table.cache_clear()


def test_the_shared_table_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        noise_table()[0] = 1.0


def test_normals_that_are_all_zero_make_no_noise_and_no_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(noise, "noise_table", lambda: np.zeros(65536, np.float32))
    assert not BallNoise(KEY, 3, 0.25).draw(random_ivs(4)).any()
