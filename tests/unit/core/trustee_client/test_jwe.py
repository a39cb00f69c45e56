from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe as other
from joserfc.jwk import ECKey, RSAKey

from crag_core.errors import BadInput, IntegrityViolated
from crag_core.trustee.jwe import ECDH, RSA_LEGACY, RSA_OAEP, TeeKey, b64url
from support import vectors

SECRET = b"\x00 the resource \xff"
KEYS = {alg: TeeKey.generate(alg) for alg in (ECDH, RSA_OAEP, RSA_LEGACY)}


def _encrypt(key: TeeKey, plaintext: bytes = SECRET, **header: Any) -> dict[str, Any]:
    """Encrypted by an implementation that is not ours."""
    kind = ECKey if key.alg == ECDH else RSAKey
    public = kind.import_key(key.jwk)
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    compact = other.encrypt_compact(
        {"alg": key.alg, "enc": "A256GCM", **header},
        plaintext,
        public,
        algorithms=[key.alg, "A256GCM"],
    )
    return dict(zip(names, compact.split("."), strict=True))


def _encrypt_legacy(key: TeeKey, plaintext: bytes = SECRET) -> dict[str, Any]:
    """As Trustee 1.5.2 does it: bare JSON header, tag inside the ciphertext, no associated data."""
    from base64 import urlsafe_b64decode

    n, e = (int.from_bytes(urlsafe_b64decode(key.jwk[m] + "=="), "big") for m in "ne")
    content_key, nonce = os.urandom(32), os.urandom(12)
    public = rsa.RSAPublicNumbers(e, n).public_key()
    return {
        "protected": '{"alg":"RSA1_5","enc":"A256GCM"}',
        "encrypted_key": b64url(public.encrypt(content_key, padding.PKCS1v15())),
        "iv": b64url(nonce),
        "ciphertext": b64url(AESGCM(content_key).encrypt(nonce, plaintext, None)),
        "tag": "",
    }


@pytest.mark.parametrize("alg", [ECDH, RSA_OAEP])
@pytest.mark.parametrize("size", [0, 1, 32, 5000])
def test_what_another_implementation_encrypts_opens(alg: str, size: int) -> None:
    plaintext = os.urandom(size)
    assert KEYS[alg].decrypt(_encrypt(KEYS[alg], plaintext)) == plaintext


def test_party_information_of_the_header_is_part_of_the_key() -> None:
    key = KEYS[ECDH]
    assert key.decrypt(_encrypt(key, apu=b64url(b"Alice"), apv=b64url(b"Bob"))) == SECRET


def test_the_legacy_form_opens_with_a_legacy_key_only() -> None:
    legacy = _encrypt_legacy(KEYS[RSA_LEGACY])
    assert KEYS[RSA_LEGACY].decrypt(legacy) == SECRET
    for alg in (ECDH, RSA_OAEP):
        with pytest.raises(IntegrityViolated):
            KEYS[alg].decrypt(legacy)


def test_the_legacy_form_is_not_taken_in_standard_clothes() -> None:
    legacy = _encrypt_legacy(KEYS[RSA_LEGACY])
    dressed = legacy | {"protected": b64url(legacy["protected"].encode())}
    with pytest.raises(IntegrityViolated):
        KEYS[RSA_LEGACY].decrypt(dressed)


def test_the_public_key_has_the_members_that_the_server_hashes() -> None:
    assert set(KEYS[ECDH].jwk) == {"kty", "crv", "alg", "x", "y"}
    assert set(KEYS[RSA_LEGACY].jwk) == {"kty", "alg", "n", "e"}
    assert all(len(KEYS[ECDH].jwk[name]) == 43 for name in "xy")
    with pytest.raises(BadInput):
        TeeKey.generate("none")


def test_a_resource_for_another_session_does_not_open() -> None:
    with pytest.raises(IntegrityViolated) as caught:
        TeeKey.generate().decrypt(_encrypt(KEYS[ECDH]))
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("member", ["protected", "encrypted_key", "iv", "ciphertext", "tag"])
@pytest.mark.parametrize("alg", [ECDH, RSA_OAEP])
def test_no_member_can_change(alg: str, member: str) -> None:
    good = _encrypt(KEYS[alg])
    for changed in (_flip(good[member]), "", None, 5, good[member] + "=", good[member] + "!"):
        with pytest.raises(IntegrityViolated):
            KEYS[alg].decrypt(good | {member: changed})
    missing = {name: value for name, value in good.items() if name != member}
    with pytest.raises(IntegrityViolated):
        KEYS[alg].decrypt(missing)


def _flip(text: str) -> str:
    return ("B" if text[2] != "B" else "C").join((text[:2], text[3:]))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "dir"},
        {"alg": "ECDH-ES"},
        {"alg": RSA_OAEP},
        {"enc": "A128GCM"},
        {"zip": "DEF"},
        {"crit": ["x"]},
        {"epk": None},
        {"epk": {"kty": "EC", "crv": "P-384"}},
        {"epk": {"kty": "EC", "crv": "P-256", "x": b64url(bytes(32)), "y": b64url(bytes(32))}},
        {"epk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}},
    ],
)
def test_a_header_cannot_talk_the_session_into_something_else(header: dict[str, Any]) -> None:
    good = _encrypt(KEYS[ECDH])
    from base64 import urlsafe_b64decode

    protected = json.loads(urlsafe_b64decode(good["protected"] + "==")) | header
    with pytest.raises(IntegrityViolated):
        KEYS[ECDH].decrypt(good | {"protected": b64url(json.dumps(protected).encode())})


def test_additional_data_is_authenticated() -> None:
    good = _encrypt(KEYS[ECDH])
    with pytest.raises(IntegrityViolated):
        KEYS[ECDH].decrypt(good | {"aad": b64url(b"added")})


VALUES = st.none() | st.integers() | st.text(st.sampled_from('{}":AZaz09_-'), max_size=30)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["protected", "encrypted_key", "iv", "ciphertext", "tag", "aad"]), VALUES
    )
)
def test_arbitrary_objects_are_refused(encrypted: dict[str, Any]) -> None:
    for key in KEYS.values():
        with pytest.raises(IntegrityViolated):
            key.decrypt(copy.deepcopy(encrypted))


@pytest.mark.parametrize("encrypted", [None, [], "x", 5])
def test_what_is_no_object_is_refused(encrypted: Any) -> None:
    with pytest.raises(IntegrityViolated):
        KEYS[ECDH].decrypt(encrypted)


@vectors.needed
@pytest.mark.parametrize(("version", "alg"), [("v1.9.0", ECDH), ("v1.5.2", RSA_LEGACY)])
def test_a_recorded_resource_is_read_up_to_its_foreign_key(version: str, alg: str) -> None:
    recorded = json.loads(vectors.data("kbs/rcar_transcript.json"))[version]["resource"]
    with pytest.raises(IntegrityViolated, match=r"session's key|right length|tag is wrong"):
        KEYS[alg].decrypt(recorded)


def test_a_key_pair_does_not_show_its_private_half() -> None:
    assert "object at" in repr(KEYS[ECDH])
