from __future__ import annotations

import copy
import pickle
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput
from crag_core.keys import PURPOSES, CollectionKeys, MasterKey
from support.sapr_reference import hkdf, lp

SALT = bytes(range(16))
SECRET = b"a-very-secret-master-key-42"


def keys(raw: bytes = SECRET, collection: str = "default", salt: bytes = SALT) -> CollectionKeys:
    return CollectionKeys(MasterKey.from_bytes(raw), collection, salt)


def test_generated_keys_are_32_bytes_strong_and_new_each_time() -> None:
    first, second = MasterKey.generate(), MasterKey.generate()
    assert len(first.raw) == 32
    assert first.raw != second.raw
    assert not first.weak


@pytest.mark.parametrize("raw", [b"", bytes(4097)])
def test_empty_and_huge_master_keys_are_bad_input(raw: bytes) -> None:
    with pytest.raises(BadInput) as refused:
        MasterKey.from_bytes(raw)
    assert refused.value.exit_code == 30
    assert refused.value.hint


@pytest.mark.parametrize("size", [1, 20, 4096])
def test_the_raw_bytes_are_kept_as_given(size: int) -> None:
    raw = b" \n" * (size // 2) + b"x" * (size % 2)
    assert MasterKey.from_bytes(raw).raw == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"test-masterkey-12345",
        bytes(32),
        b"0123456789" * 10,
        b"correct horse battery staple correct horse battery staple",
        b"this is a sentence that is longer than thirty-two bytes",
        b"abc" * 100,
        bytes(31) + b"\x01\x02",
    ],
)
def test_keys_that_a_person_made_up_are_weak(raw: bytes) -> None:
    assert MasterKey.from_bytes(raw).weak


@pytest.mark.parametrize(
    "raw",
    [
        bytes(range(200, 232)),
        b"9f3c1e5a7b2d4c6e8f0a1b3c5d7e9f0a2b4c6d8e0f1a3b5c7d9e1f2a4b6c8d0e",
        b"q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
    ],
)
def test_random_bytes_hex_and_base64_are_not_called_weak(raw: bytes) -> None:
    assert not MasterKey.from_bytes(raw).weak


def test_no_representation_shows_the_key() -> None:
    master = MasterKey.from_bytes(SECRET)
    shown = f"{master!r} {master} {keys()!r} {keys()}"
    assert "secret" not in shown
    assert SECRET.hex() not in shown


@pytest.mark.parametrize("holder", [MasterKey.from_bytes(SECRET), keys()])
def test_holders_of_keys_are_neither_pickled_nor_copied(holder: object) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(holder)
    with pytest.raises(TypeError):
        copy.deepcopy(holder)


def test_check_values_identify_key_collection_and_epoch() -> None:
    values = {
        MasterKey.from_bytes(SECRET).check_value(),
        MasterKey.from_bytes(b"other").check_value(),
        keys().check_value(),
        keys(raw=b"other").check_value(),
        keys(collection="other").check_value(),
        keys(salt=bytes(16)).check_value(),
    }
    assert len(values) == 6
    assert all(value.startswith("kcv1:") and len(value) == 37 for value in values)


def test_only_the_own_check_value_matches() -> None:
    master = MasterKey.from_bytes(SECRET)
    assert master.matches(master.check_value())
    assert keys().matches(keys().check_value())
    for wrong in ["", "kcv1:", master.check_value()[:-1], "kcv1:" + "0" * 32, "é\udc80"]:
        assert not master.matches(wrong)
        assert not keys().matches(wrong)


@given(
    raw=st.binary(min_size=1, max_size=64),
    collection=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    salt=st.binary(min_size=16, max_size=40),
    purpose=st.sampled_from(sorted(PURPOSES)),
    length=st.integers(1, 100),
    extra=st.lists(st.binary(max_size=8), max_size=3),
)
@settings(max_examples=60, deadline=None)
def test_derivation_is_hkdf_over_length_prefixed_names(
    raw: bytes, collection: str, salt: bytes, purpose: str, length: int, extra: list[bytes]
) -> None:
    info = b"".join(map(lp, [b"crag/kdf/v1", purpose.encode(), collection.encode(), *extra]))
    derived = keys(raw, collection, salt).derive(purpose, length, *extra)
    assert derived == hkdf(raw, salt, info, length)
    assert derived == HKDF(hashes.SHA256(), length, salt, info).derive(raw)


def test_names_that_join_to_the_same_text_give_different_keys() -> None:
    one = keys(collection="a").derive("tag", 32, b"bc")
    two = keys(collection="ab").derive("tag", 32, b"c")
    three = keys(collection="a").derive("tag", 32, b"b", b"c")
    assert len({one, two, three}) == 3


def test_every_purpose_and_dimension_has_its_own_key() -> None:
    made = [keys().derive(purpose) for purpose in PURPOSES]
    made += [keys().derive("vector/noise", 32, struct.pack(">I", d)) for d in (6, 384, 385)]
    assert len(set(made)) == len(PURPOSES) + 3


def test_an_unknown_purpose_is_a_defect_of_the_caller() -> None:
    with pytest.raises(ValueError, match="purpose"):
        keys().derive("vector/nosie")


@pytest.mark.parametrize(
    ("collection", "salt"), [("", SALT), ("x", b""), ("x", bytes(15)), ("\ud800", SALT)]
)
def test_missing_names_and_short_salts_are_bad_input(collection: str, salt: bytes) -> None:
    with pytest.raises(BadInput):
        keys(collection=collection, salt=salt)
