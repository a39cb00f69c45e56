"""The compiled kernel: the bits of numpy by any instructions, and no wrong argument is read."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.vectors import VectorCipher, kernel
from crag_core.vectors.arithmetic import NumpyArithmetic
from crag_core.vectors.kernel import KernelArithmetic
from crag_core.vectors.noise import noise_integers

native = kernel.native()
compiled = pytest.mark.skipif(native is None, reason="crag-kernel is not installed")
LEVELS = range(len(native.LEVELS)) if native else range(0)
every_level = pytest.mark.parametrize("level", LEVELS, ids=native.LEVELS if native else [])

MASTER, SALT = b"test-masterkey-12345", bytes(range(16))


def cipher(arithmetic: Any, dimension: int, scaling: float = 1.0, beta: float = 1.0) -> Any:
    return VectorCipher.from_master_key(
        MASTER,
        collection="default",
        salt=SALT,
        dimension=dimension,
        scaling_factor=scaling,
        approximation_factor=beta,
        arithmetic=arithmetic,
    )


def units(rows: int, dimension: int, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal((rows, dimension))
    norms = np.linalg.norm(drawn, axis=1, keepdims=True)
    return (drawn / norms).astype(np.float32)


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.dtype == other.dtype and one.tobytes() == other.tobytes()


@compiled
@every_level
@given(
    dimension=st.integers(1, 140) | st.sampled_from([255, 384, 385, 768, 1000, 1024, 1536, 5000]),
    rows=st.integers(0, 40),
    scaling=st.sampled_from([1.0, 0.37, 2.0**-8, 256.0]),
    beta=st.sampled_from([0.0, 0.1, 1.0, 2.3]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_every_result_has_the_bits_of_numpy(
    level: int, dimension: int, rows: int, scaling: float, beta: float, seed: int
) -> None:
    ours = cipher(KernelArithmetic(native, level), dimension, scaling, beta)
    plain = cipher(NumpyArithmetic(), dimension, scaling, beta)
    vectors = units(rows, dimension, seed)
    ids = [number.to_bytes(16, "big") for number in range(rows)]
    sealed, expected = ours.encrypt(vectors, ids), plain.encrypt(vectors, ids)
    assert same(sealed.ivs, expected.ivs) and same(sealed.vectors, expected.vectors)
    exact = ours.encrypt_float32(vectors, ids)[0]
    assert same(exact, plain.encrypt_float32(vectors, ids)[0])
    for stored in (sealed.vectors, exact, sealed.vectors.astype(">f2")):
        assert same(ours.denoise(stored, sealed.ivs), plain.denoise(stored, sealed.ivs))
        assert same(ours.decrypt(stored, sealed.ivs), plain.decrypt(stored, sealed.ivs))
        for query in vectors[:2]:
            scores = ours.scores(query, stored, sealed.ivs)
            assert same(scores, plain.scores(query, stored, sealed.ivs))
            exact_scores = plain.denoise(stored, sealed.ivs).astype(float) @ plain.rotate(query)
            assert np.allclose(scores, exact_scores, atol=2e-6)
    assert same(ours.rotate(vectors), plain.rotate(vectors))
    for query in vectors[:2]:
        assert same(ours.encrypt_query(query), plain.encrypt_query(query))
        assert same(ours.rotate(query), plain.rotate(query))


@compiled
@every_level
@pytest.mark.parametrize("rows", [383, 384, 385, 800])
def test_batches_larger_than_a_chunk_have_the_bits_of_numpy(level: int, rows: int) -> None:
    vectors = units(rows, 24, 1)
    ids = [number.to_bytes(16, "big") for number in range(rows)]
    sealed = cipher(KernelArithmetic(native, level), 24).encrypt(vectors, ids)
    assert same(sealed.vectors, cipher(NumpyArithmetic(), 24).encrypt(vectors, ids).vectors)


@compiled
def test_the_largest_dimension_has_the_bits_of_numpy() -> None:
    vectors = units(3, 16_000, 1)
    ids = [bytes([number]) * 16 for number in range(3)]
    sealed = cipher(None, 16_000).encrypt(vectors, ids)
    assert same(sealed.vectors, cipher(NumpyArithmetic(), 16_000).encrypt(vectors, ids).vectors)


def identity(dimension: int) -> tuple[np.ndarray, np.ndarray]:
    orders = np.tile(np.arange(dimension, dtype=np.uint16), (3, 1))
    return orders, np.ones((3, dimension), np.float32)


@compiled
@every_level
def test_rounding_to_float16_is_that_of_numpy(level: int) -> None:
    assert native is not None
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[:-1].astype(float) + halves[1:]).astype(np.float32) / 2
    near = [np.nextafter(middles, np.float32(0)), middles, np.nextafter(middles, np.float32(9e9))]
    large = np.array([65519.99, 65520, 65536, 1e30, np.inf, 1e-40, 2e-8, 3e-8, 5.9e-8], "f4")
    values = np.concatenate([halves, *near, large])
    values = np.concatenate([values, -values])
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    # one dimension is not rotated, so that the values come through as they are
    single = np.empty((len(values), 1), np.float16)
    column = np.ascontiguousarray(values[:, None])
    native.encrypt(level, column, None, *identity(1), noise_integers(), 0.0, 1.0, single)
    assert same(single[:, 0], expected)


@compiled
@every_level
@pytest.mark.parametrize("scale", [2.0**-26, 2.0**-20, 2.0**-12, 1.0, 8.0])
@pytest.mark.parametrize("dimension", [16, 29, 384])
def test_rounding_whole_rows_to_float16_is_that_of_numpy(
    level: int, scale: float, dimension: int
) -> None:
    assert native is not None
    # sums of whole numbers, so that many lie in the middle between two of float16
    numbers = np.random.default_rng(5).integers(-99, 100, (400, dimension)).astype(np.float32)
    exact = np.empty(numbers.shape, np.float32)
    halved = np.empty(numbers.shape, np.float16)
    for out in (exact, halved):
        native.encrypt(
            level, numbers, None, *identity(dimension), noise_integers(), 0.0, scale, out
        )
    with np.errstate(over="ignore"):
        expected = exact.astype(np.float16)
    assert same(halved, expected)
    if (dimension, scale) == (384, 1.0):
        assert (expected.astype(np.float32) != exact).mean() > 0.1


@compiled
@every_level
@pytest.mark.parametrize("columns", [1, 7, 40])
def test_every_float16_is_widened_exactly(level: int, columns: int) -> None:
    assert native is not None
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = np.resize(halves[np.isfinite(halves)], (2000, columns))
    out = np.empty(finite.shape, np.float32)
    native.denoise(level, finite, None, noise_integers(), 0.0, 1.0, out)
    assert same(out, finite.astype(np.float32))


def good(dimension: int = 12, rows: int = 3) -> dict[str, Any]:
    orders, factors = identity(dimension)
    return {
        "vectors": np.ones((rows, dimension), np.float32),
        "words": np.zeros((rows, dimension + 2), np.uint16),
        "orders": orders,
        "factors": factors,
        "table": noise_integers(),
        "out": np.zeros((rows, dimension), np.float32),
    }


WRONG: list[tuple[str, Any]] = [
    ("vectors", np.ones((3, 12), np.float64)),
    ("vectors", np.ones((3, 12), np.float16)),
    ("vectors", np.ones((3, 12), np.int32)),
    ("vectors", np.ones((3, 12), ">f4")),
    ("vectors", np.ones(36, np.float32)),
    ("vectors", np.ones((3, 24), np.float32)[:, ::2]),
    ("vectors", np.ones((3, 12), np.float32, order="F")),
    ("vectors", np.ones((4, 12), np.float32)),
    ("vectors", np.ones((3, 13), np.float32)),
    ("vectors", np.ones((3, 0), np.float32)),
    ("vectors", np.ones((3, 16_001), np.float32)),
    ("vectors", b"x" * 144),
    ("vectors", None),
    ("words", np.zeros((3, 13), np.uint16)),
    ("words", np.zeros((2, 14), np.uint16)),
    ("words", np.zeros((3, 14), np.int16)),
    ("words", np.zeros((3, 14), np.uint8)),
    ("words", np.zeros((3, 28), np.uint16)[:, ::2]),
    ("orders", np.full((3, 12), 12, np.uint16)),
    ("orders", np.full((3, 12), 65535, np.uint16)),
    ("orders", np.zeros((2, 12), np.uint16)),
    ("orders", np.zeros((3, 12), np.int16)),
    ("orders", np.zeros((3, 12), np.int64)),
    ("factors", np.ones((3, 11), np.float32)),
    ("factors", np.ones((3, 12), np.float64)),
    ("table", np.zeros((1, 65535), np.int16)),
    ("table", np.zeros(65536, np.int16)),
    ("table", np.zeros((1, 65536), np.uint16)),
    ("out", np.zeros((3, 11), np.float32)),
    ("out", np.zeros((2, 12), np.float32)),
    ("out", np.zeros((3, 12), np.uint16)),
    ("out", np.zeros((3, 12), np.float64)),
    ("out", bytes(144)),
]


@compiled
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_buffer_is_refused_and_nothing_is_written(name: str, value: Any) -> None:
    assert native is not None
    a = good() | {name: value}
    refusals = (ValueError, TypeError, BufferError)
    with pytest.raises(refusals):
        native.encrypt(0, *(a[k] for k in ("vectors", "words", "orders", "factors", "table")),
                       1.0, 1.0, a["out"])  # fmt: skip
    if name in ("vectors", "orders", "factors", "out"):
        for function in (native.forward, native.backward):
            with pytest.raises(refusals):
                function(0, *(a[k] for k in ("vectors", "orders", "factors", "out")))
    if name in ("words", "table", "out"):
        with pytest.raises(refusals):
            native.denoise(0, a["vectors"], a["words"], a["table"], 1.0, 1.0, a["out"])
    assert name == "out" or not a["out"].any()


WRONG_SCORES: list[tuple[str, Any]] = [
    ("values", np.ones((3, 12), np.float64)),
    ("values", np.ones((4, 12), np.float32)),
    ("values", np.ones((3, 13), np.float32)),
    ("values", np.ones((3, 0), np.float32)),
    ("words", np.zeros((3, 13), np.uint16)),
    ("words", np.zeros((2, 14), np.uint16)),
    ("table", np.zeros((1, 65535), np.int16)),
    ("query", np.ones((1, 11), np.float32)),
    ("query", np.ones((1, 13), np.float32)),
    ("query", np.ones((3, 12), np.float32)),
    ("query", np.ones(12, np.float32)),
    ("query", np.ones((1, 12), np.float64)),
    ("query", np.ones((1, 12), np.float16)),
    ("query", np.ones((1, 24), np.float32)[:, ::2]),
    ("out", np.zeros((2, 1), np.float32)),
    ("out", np.zeros((3, 2), np.float32)),
    ("out", np.zeros(3, np.float32)),
    ("out", np.zeros((3, 1), np.float64)),
    ("out", bytes(12)),
]


@compiled
@every_level
@pytest.mark.parametrize(("name", "value"), [("words", None), *WRONG_SCORES])
def test_scores_refuse_a_wrong_buffer_and_write_nothing(level: int, name: str, value: Any) -> None:
    assert native is not None
    a = {
        "values": np.ones((3, 12), np.float32),
        "words": np.zeros((3, 14), np.uint16),
        "table": noise_integers(),
        "query": np.ones((1, 12), np.float32),
        "out": np.zeros((3, 1), np.float32),
        name: value,
    }

    def score() -> None:
        native.scores(level, a["values"], a["words"], a["table"], 1.0, 1.0, a["query"], a["out"])

    if value is None:
        score()
        assert a["out"].tolist() == [[12.0]] * 3
        return
    with pytest.raises((ValueError, TypeError, BufferError)):
        score()
    assert name == "out" or not a["out"].any()


WRONG_FIND: list[tuple[str, Any]] = [
    ("ids", np.zeros((3, 15), np.uint8)),
    ("ids", np.zeros((2, 16), np.uint8)),
    ("ids", np.zeros((3, 16), np.int8)),
    ("ids", np.zeros((3, 32), np.uint8)[:, ::2]),
    ("numbers", np.zeros((3, 1), np.int32)),
    ("numbers", np.zeros((3, 1), np.uint16)),
    ("numbers", np.zeros((3, 1), np.uint64)),
    ("numbers", np.zeros(3, np.uint32)),
    ("starts", np.zeros((2, 1), np.uint32)),
    ("starts", np.zeros((4, 1), np.uint32)),
    ("starts", np.zeros((3, 1), np.float32)),
    ("shift", 64),
    ("shift", 62),
    ("shift", 31),
    ("shift", -1),
    ("asked", np.zeros((2, 8), np.uint8)),
    ("asked", bytes(32)),
    ("out", np.zeros((3, 1), np.uint32)),
    ("out", np.zeros((2, 1), np.float32)),
    ("out", bytes(8)),
]


def find(**changed: Any) -> np.ndarray:
    assert native is not None
    a: dict[str, Any] = {
        "ids": np.repeat(np.arange(3, dtype=np.uint8)[:, None], 16, axis=1),
        "numbers": np.array([[7], [8], [9]], np.uint32),
        "starts": np.array([[0], [3], [3]], np.uint32),
        "shift": 63,
        "asked": np.repeat(np.array([[2], [5]], np.uint8), 16, axis=1),
        "out": np.zeros((2, 1), np.uint32),
        **changed,
    }
    native.find(a["ids"], a["numbers"], a["starts"], a["shift"], a["asked"], a["out"])
    found: np.ndarray = a["out"]
    return found


@compiled
@pytest.mark.parametrize(("name", "value"), WRONG_FIND)
def test_find_refuses_a_wrong_buffer(name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError, BufferError)):
        find(**{name: value})


@compiled
def test_find_reads_no_row_that_is_not_there() -> None:
    assert find().tolist() == [[9], [2**32 - 1]]
    for starts in ([4, 2**32 - 1, 0], [0, 2**32 - 1, 2**32 - 1], [3, 0, 3], [2**32 - 1] * 3):
        made = np.array(starts, np.uint32)[:, None]
        assert find(starts=made)[1] == 2**32 - 1
    none = {"ids": np.zeros((0, 16), np.uint8), "numbers": np.zeros((0, 1), np.uint32)}
    assert find(**none).tolist() == [[2**32 - 1]] * 2


@compiled
@pytest.mark.parametrize("level", [-1, len(LEVELS), 2**31 - 1])
def test_instructions_that_are_not_there_are_refused(level: int) -> None:
    assert native is not None
    a = good()
    with pytest.raises(ValueError, match="no level"):
        native.forward(level, a["vectors"], a["orders"], a["factors"], a["out"])


@compiled
def test_an_array_that_cannot_be_written_is_refused() -> None:
    assert native is not None
    a = good()
    a["out"].setflags(write=False)
    with pytest.raises((ValueError, BufferError)):
        native.forward(0, a["vectors"], a["orders"], a["factors"], a["out"])


@compiled
def test_it_is_used_where_it_is_installed() -> None:
    assert isinstance(kernel.fastest(), KernelArithmetic)
    assert cipher(None, 8).compiled
    assert not cipher(NumpyArithmetic(), 8).compiled


@pytest.mark.parametrize("found", [None, SimpleNamespace(INTERFACE=kernel.INTERFACE + 1)])
def test_without_it_or_with_another_interface_numpy_computes(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    monkeypatch.setitem(sys.modules, "crag_kernel", SimpleNamespace(_native=found))
    monkeypatch.setitem(sys.modules, "crag_kernel._native", found)
    if found is None:
        monkeypatch.setitem(sys.modules, "crag_kernel", None)
    kernel.native.cache_clear()
    try:
        assert not cipher(None, 8).compiled
    finally:
        kernel.native.cache_clear()
