"""The product against ``tests/vectors``, which anybody may implement against."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from crag_core.keys import CollectionKeys, MasterKey
from crag_core.sealing import row_aad, unseal
from crag_core.sethash import SetHash
from crag_core.tags import tag
from crag_core.vectors import VectorCipher, kernel
from crag_core.vectors.arithmetic import Arithmetic, NumpyArithmetic
from crag_core.vectors.noise import BallNoise

FOLDER = Path(__file__).parents[3] / "vectors"
VECTORS: dict[str, Any] = json.loads((FOLDER / "sapr-v1.json").read_text("utf-8"))
FORMATS: dict[str, Any] = json.loads((FOLDER / "formats-v1.json").read_text("utf-8"))
MASTER = bytes.fromhex(VECTORS["master_key"])
SALT = bytes.fromhex(VECTORS["salt"])
cases = pytest.mark.parametrize(
    "case",
    VECTORS["cases"],
    ids=[f"{c['dimension']}-{c['scaling_factor']}" for c in VECTORS["cases"]],
)


native = kernel.native()
LEVELS: tuple[str, ...] = native.LEVELS if native else ()
ARITHMETICS: list[Arithmetic] = [NumpyArithmetic()]
ARITHMETICS += [kernel.KernelArithmetic(native, i) for i in range(len(LEVELS)) if native]


@pytest.fixture(params=ARITHMETICS, ids=["numpy", *LEVELS])
def arithmetic(request: pytest.FixtureRequest) -> Arithmetic:
    """numpy, and the compiled kernel with each set of instructions."""
    found: Arithmetic = request.param
    return found


def cipher(case: dict[str, Any], arithmetic: Arithmetic) -> VectorCipher:
    return VectorCipher.from_master_key(
        MASTER,
        collection=VECTORS["collection"],
        salt=SALT,
        dimension=case["dimension"],
        scaling_factor=case["scaling_factor"],
        approximation_factor=case["approximation_factor"],
        arithmetic=arithmetic,
    )


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def decode(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(array.astype("<f4").tobytes()).hexdigest()


def noise(case: dict[str, Any], purpose: str, iv: str) -> np.ndarray:
    keys = CollectionKeys(MasterKey.from_bytes(MASTER), VECTORS["collection"], SALT)
    key = keys.derive(purpose, 32, case["dimension"].to_bytes(4, "big"))
    radius = case["scaling_factor"] * case["approximation_factor"] / 4
    ivs = np.frombuffer(bytes.fromhex(iv), np.uint8)[None]
    return BallNoise(key, case["dimension"], radius).draw(ivs)[0]


@cases
def test_ivs_and_noise_are_exactly_as_published(
    case: dict[str, Any], arithmetic: Arithmetic
) -> None:
    for row in case["rows"]:
        vector = decode(row["vector_f32le"], "<f4")
        sealed = cipher(case, arithmetic).encrypt(vector[None], [bytes.fromhex(row["id"])])
        assert sealed.ivs.tobytes().hex() == row["iv"]
        drawn = noise(case, "vector/noise", row["iv"])
        assert [float(value).hex() for value in drawn[:8]] == row["noise_first8"]
        assert sha256(drawn) == row["noise_f32le_sha256"]
        asked = noise(case, "vector/query-noise", row["query_iv"])
        assert sha256(asked) == row["query_noise_f32le_sha256"]


@cases
def test_ciphertexts_are_exactly_as_published(case: dict[str, Any], arithmetic: Arithmetic) -> None:
    for row in case["rows"]:
        vector = decode(row["vector_f32le"], "<f4")
        sealed = cipher(case, arithmetic).encrypt(vector[None], [bytes.fromhex(row["id"])])
        expected = base64.b64decode(row["encrypted_f16le"])
        assert sealed.vectors.astype("<f2").tobytes() == expected
        query = cipher(case, arithmetic).encrypt_query(vector)
        assert [float(value).hex() for value in query[:8]] == row["query_first8"]
        assert sha256(query) == row["query_f32le_sha256"]


@pytest.mark.parametrize(
    "batch",
    VECTORS["batches"],
    ids=[f"{b['dimension']}-{b['approximation_factor']}" for b in VECTORS["batches"]],
)
def test_batches_are_exactly_as_published(batch: dict[str, Any], arithmetic: Arithmetic) -> None:
    source = generator()
    numbers = range(batch["rows"])
    vectors = np.array([source.unit_vector(batch["dimension"], n) for n in numbers], np.float32)
    sealed = cipher(batch, arithmetic).encrypt(vectors, [source.row_id_of(n) for n in numbers])
    found = hashlib.sha256(sealed.vectors.astype("<f2").tobytes()).hexdigest()
    assert found == batch["encrypted_f16le_sha256"]
    assert hashlib.sha256(sealed.ivs.tobytes()).hexdigest() == batch["ivs_sha256"]


@cases
def test_published_ciphertexts_decrypt(case: dict[str, Any], arithmetic: Arithmetic) -> None:
    for row in case["rows"]:
        stored = decode(row["encrypted_f16le"], "<f2")[None]
        ivs = np.frombuffer(bytes.fromhex(row["iv"]), np.uint8)[None]
        decrypted = cipher(case, arithmetic).decrypt(stored, ivs)[0]
        np.testing.assert_allclose(decrypted, decode(row["vector_f32le"], "<f4"), 0, 1e-3)


@cases
def test_the_first_row_of_the_rotation_is_as_published(
    case: dict[str, Any], arithmetic: Arithmetic
) -> None:
    first = np.zeros(case["dimension"], np.float32)
    first[0] = 1.0
    assert sha256(cipher(case, arithmetic).rotate(first)) == case["rotation_row0_f32le_sha256"]


def test_keys_sealing_tags_and_set_hash_are_as_published() -> None:
    master = MasterKey.from_bytes(bytes.fromhex(FORMATS["master_key"]))
    keys = CollectionKeys(master, FORMATS["collection"], bytes.fromhex(FORMATS["salt"]))
    assert master.check_value() == FORMATS["check_value"]
    assert keys.check_value() == FORMATS["collection_check_value"]
    assert {name: keys.derive(name).hex() for name in FORMATS["keys"]} == FORMATS["keys"]
    aad = row_aad(
        scheme="sapr-v1",
        epoch=FORMATS["row"]["epoch"],
        collection=FORMATS["collection"],
        row_id=bytes([1]) * 16,
        iv=bytes([2]) * 12,
        vector=np.arange(6, dtype=">f2").tobytes(),
        tags=[bytes([3]) * 16, bytes([4]) * 16],
        expires=FORMATS["row"]["expires"],
    )
    assert aad.hex() == FORMATS["row"]["aad"]
    sealed = {name: bytes.fromhex(value) for name, value in FORMATS["sealed"].items()}
    opened = unseal(keys.derive("seal/text"), sealed["nonce"], sealed["ciphertext"], aad)
    assert opened == sealed["payload"]
    assert (
        tag(keys.derive("tag"), FORMATS["tag"]["name"], FORMATS["tag"]["value"]).hex()
        == (FORMATS["tag"]["tag"])
    )
    total = SetHash(keys.derive("sethash"))
    total.add(map(bytes.fromhex, FORMATS["sethash"]["elements"]))
    assert total.digest().hex() == FORMATS["sethash"]["digest"]


def test_the_generator_writes_what_is_published() -> None:
    made = generator()
    assert made.vectors() == VECTORS
    assert made.formats() == FORMATS
