from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput, IntegrityViolated
from crag_core.sealing import (
    RowBinding,
    Sealer,
    document_aad,
    pad,
    profile_aad,
    row_aad,
    seal,
    unpad,
    unseal,
)

KEY = bytes(range(32))
ROW: dict[str, Any] = {
    "scheme": "sapr-v1",
    "epoch": 1,
    "collection": "default",
    "row_id": b"i" * 16,
    "iv": b"v" * 12,
    "vector": b"\x3c\x00" * 384,
    "tags": [b"a" * 16, b"b" * 16],
    "expires": None,
}


@given(payload=st.binary(max_size=2000), aad=st.binary(max_size=64))
@settings(max_examples=80, deadline=None)
def test_what_was_sealed_opens(payload: bytes, aad: bytes) -> None:
    nonce, ciphertext = seal(KEY, payload, aad)
    assert len(nonce) == 12
    assert unseal(KEY, nonce, ciphertext, aad) == payload


@given(
    payload=st.binary(max_size=600),
    part=st.sampled_from(["nonce", "ciphertext", "aad"]),
    position=st.integers(0, 10_000),
    bit=st.integers(0, 7),
)
@settings(max_examples=120, deadline=None)
def test_one_flipped_bit_anywhere_is_an_integrity_violation(
    payload: bytes, part: str, position: int, bit: int
) -> None:
    aad = b"associated data"
    nonce, ciphertext = seal(KEY, payload, aad)
    pieces = {"nonce": nonce, "ciphertext": ciphertext, "aad": aad}
    changed = bytearray(pieces[part])
    changed[position % len(changed)] ^= 1 << bit
    pieces[part] = bytes(changed)
    with pytest.raises(IntegrityViolated) as refused:
        unseal(KEY, pieces["nonce"], pieces["ciphertext"], pieces["aad"])
    assert refused.value.exit_code == 12
    assert refused.value.__cause__ is None


@given(nonce=st.binary(max_size=20), ciphertext=st.binary(max_size=300), aad=st.binary(max_size=20))
@settings(max_examples=80, deadline=None)
def test_arbitrary_bytes_never_open(nonce: bytes, ciphertext: bytes, aad: bytes) -> None:
    with pytest.raises(IntegrityViolated):
        unseal(KEY, nonce, ciphertext, aad)


def test_another_key_does_not_open() -> None:
    nonce, ciphertext = seal(KEY, b"text", b"")
    with pytest.raises(IntegrityViolated):
        unseal(bytes(32), nonce, ciphertext, b"")


def test_sealing_twice_shares_no_bytes_of_nonce_or_ciphertext() -> None:
    first, second = seal(KEY, b"text", b""), seal(KEY, b"text", b"")
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize(
    ("length", "padded"), [(0, 256), (1, 256), (252, 256), (253, 512), (508, 512), (509, 768)]
)
def test_lengths_are_hidden_up_to_multiples_of_256(length: int, padded: int) -> None:
    _, ciphertext = seal(KEY, b"x" * length, b"")
    assert len(ciphertext) == padded + 16


@given(payload=st.binary(max_size=1000))
@settings(max_examples=60, deadline=None)
def test_padding_is_undone(payload: bytes) -> None:
    padded = pad(payload)
    assert len(padded) % 256 == 0
    assert unpad(padded) == payload


@given(padded=st.binary(max_size=600))
@settings(max_examples=100, deadline=None)
def test_only_canonical_padding_is_accepted(padded: bytes) -> None:
    try:
        payload = unpad(padded)
    except IntegrityViolated:
        return
    assert pad(payload) == padded


@pytest.mark.parametrize(
    "padded",
    [
        b"",
        b"\0\0\0",
        bytes(255),
        bytes(512),
        b"\0\0\0\xfd" + bytes(252),
        b"\xff\xff\xff\xff" + bytes(252),
        b"\0\0\0\x01x" + bytes(250) + b"\x01",
    ],
)
def test_wrong_padding_is_an_integrity_violation(padded: bytes) -> None:
    with pytest.raises(IntegrityViolated):
        unpad(padded)


def test_payloads_beyond_the_limit_are_bad_input() -> None:
    with pytest.raises(BadInput):
        pad(bytes(64 * 1024 * 1024 + 1))


def test_many_are_sealed_in_order_under_nonces_of_their_own() -> None:
    sealer = Sealer(KEY)
    payloads, bound = [b"text %d" % i for i in range(200)], [b"aad %d" % i for i in range(200)]
    nonces, ciphertexts = sealer.seal_many(payloads, iter(bound))
    assert len(set(nonces)) == 200
    assert {len(nonce) for nonce in nonces} == {12}
    assert sealer.seal_many([], iter([])) == ([], [])
    for payload, aad, nonce, ciphertext in zip(payloads, bound, nonces, ciphertexts, strict=True):
        assert sealer.unseal(nonce, ciphertext, aad) == payload


def test_the_sealer_shows_no_key_and_wants_32_bytes() -> None:
    assert KEY.hex() not in repr(Sealer(KEY))
    with pytest.raises(ValueError, match="32 bytes"):
        Sealer(bytes(16))


@pytest.mark.parametrize(
    "change",
    [
        {"scheme": "sap-v1"},
        {"epoch": 2},
        {"collection": "other"},
        {"row_id": b"j" * 16},
        {"iv": b"w" * 12},
        {"vector": b"\x3c\x01" * 384},
        {"vector": b""},
        {"tags": [b"b" * 16, b"a" * 16]},
        {"tags": [b"a" * 16]},
        {"tags": [b"a" * 16 + b"b" * 16]},
        {"tags": []},
        {"expires": 0},
        {"expires": 1_800_000_000},
    ],
)
def test_a_row_does_not_open_when_any_column_is_another(change: dict[str, Any]) -> None:
    nonce, ciphertext = seal(KEY, b"text", row_aad(**ROW))
    assert unseal(KEY, nonce, ciphertext, row_aad(**ROW)) == b"text"
    with pytest.raises(IntegrityViolated):
        unseal(KEY, nonce, ciphertext, row_aad(**{**ROW, **change}))


row_columns = st.fixed_dictionaries(
    {
        "scheme": st.sampled_from(["sapr-v1", "sapr-v", "1"]),
        "epoch": st.integers(0, 2**32 - 1),
        "collection": st.text(max_size=4),
        "row_id": st.binary(max_size=4),
        "iv": st.binary(max_size=4),
        "vector": st.binary(max_size=4),
        "tags": st.lists(st.binary(max_size=3), max_size=3),
        "expires": st.none() | st.integers(-(2**63), 2**63 - 1),
    }
)


@given(one=row_columns, two=row_columns)
@settings(max_examples=150, deadline=None)
def test_different_rows_never_share_associated_data(
    one: dict[str, Any], two: dict[str, Any]
) -> None:
    for columns in (one, two):
        columns["collection"] = columns["collection"].encode("utf-8", "replace").decode()
    assert (row_aad(**one) == row_aad(**two)) == (one == two)


def test_a_binding_gives_each_row_the_same_associated_data() -> None:
    binding = RowBinding(scheme="sapr-v1", epoch=1, collection="default")
    columns = {k: v for k, v in ROW.items() if k not in ("scheme", "epoch", "collection")}
    assert binding.aad(**columns) == row_aad(**ROW)


def test_rows_documents_and_profiles_are_never_mistaken_for_each_other() -> None:
    document = document_aad(scheme="sapr-v1", epoch=1, collection="default", document_id=b"i" * 16)
    other = document_aad(scheme="sapr-v1", epoch=1, collection="default", document_id=b"j" * 16)
    made = {document, other, profile_aad(b"{}"), profile_aad(b"{} "), row_aad(**ROW)}
    assert len(made) == 5
