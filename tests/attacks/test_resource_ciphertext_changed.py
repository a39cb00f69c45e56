"""A man in the middle changes the encrypted resource: header, key, iv, ciphertext, tag, dialect."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import IntegrityViolated
from crag_core.trustee.jwe import ECDH, RSA_LEGACY, RSA_OAEP, TeeKey
from crag_core.trustee.local.jwe_encrypt import encrypt

SECRET = b"the key of the documents"
KEYS = {alg: TeeKey.generate(alg) for alg in (ECDH, RSA_OAEP, RSA_LEGACY)}


def sealed(alg: str) -> dict[str, Any]:
    return dict(encrypt(KEYS[alg].jwk, SECRET))


def refused(alg: str, changed: object) -> None:
    with pytest.raises(IntegrityViolated) as error:
        KEYS[alg].decrypt(changed)
    assert SECRET.decode() not in str(error.value)


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("alg", KEYS)
def test_each_form_opens_unchanged(alg: str) -> None:
    assert KEYS[alg].decrypt(sealed(alg)) == SECRET


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_bit_anywhere_is_refused(data: st.DataObject) -> None:
    alg = data.draw(st.sampled_from(sorted(KEYS)))
    found = sealed(alg)
    names = ["encrypted_key", "iv", "ciphertext"] + ([] if alg == RSA_LEGACY else ["tag"])
    name = data.draw(st.sampled_from(names))
    raw = bytearray(base64.urlsafe_b64decode(found[name] + "=" * (-len(found[name]) % 4)))
    place = data.draw(st.integers(0, 8 * len(raw) - 1))
    raw[place // 8] ^= 1 << place % 8
    refused(alg, {**found, name: b64(bytes(raw))})


@pytest.mark.parametrize("alg", [ECDH, RSA_OAEP])
def test_resource_ciphertext_with_changed_tag(alg: str) -> None:
    found = sealed(alg)
    assert KEYS[alg].decrypt(found) == SECRET
    tag = base64.urlsafe_b64decode(found["tag"] + "==")
    for changed in (
        bytes(16),
        tag[:15],
        tag + b"\0",
        b"",
        *(tag[:n] + bytes([tag[n] ^ 1]) + tag[n + 1 :] for n in range(16)),
    ):
        refused(alg, {**found, "tag": b64(changed)})


@pytest.mark.parametrize("alg", KEYS)
def test_resource_ciphertext_with_changed_key(alg: str) -> None:
    """The content key wrapped for somebody else, another one, or the sender's half exchanged."""
    found, other = sealed(alg), sealed(alg)
    assert KEYS[alg].decrypt(found) == SECRET
    stranger = dict(encrypt(TeeKey.generate(alg).jwk, SECRET))
    for changed in (other["encrypted_key"], stranger["encrypted_key"], "", b64(bytes(40))):
        refused(alg, {**found, "encrypted_key": changed})
    if alg == ECDH:
        refused(alg, {**found, "protected": other["protected"]})


@pytest.mark.parametrize("alg", [ECDH, RSA_OAEP])
def test_resource_ciphertext_with_changed_header(alg: str) -> None:
    found = sealed(alg)
    assert KEYS[alg].decrypt(found) == SECRET
    header = json.loads(base64.urlsafe_b64decode(found["protected"] + "=="))
    for change in (
        {"enc": "A128GCM"},
        {"alg": "dir"},
        {"alg": "none"},
        {"alg": RSA_LEGACY},
        {"zip": "DEF"},
        {"crit": ["exp"]},
        {"more": 1},
    ):
        refused(alg, {**found, "protected": b64(json.dumps({**header, **change}).encode())})
    refused(alg, {**found, "protected": json.dumps(header)})


def test_a_session_is_not_talked_into_the_old_form() -> None:
    """What opens only with PKCS#1 v1.5 and authenticates no header is not for a new session."""
    old = sealed(RSA_LEGACY)
    for alg in (ECDH, RSA_OAEP):
        refused(alg, old)
        refused(alg, {**sealed(alg), "protected": old["protected"]})
    refused(RSA_LEGACY, sealed(RSA_OAEP))
    refused(RSA_LEGACY, {**old, "tag": b64(bytes(16))})


@pytest.mark.parametrize("alg", KEYS)
def test_a_resource_for_another_session_is_refused(alg: str) -> None:
    refused(alg, dict(encrypt(TeeKey.generate(alg).jwk, SECRET)))


@pytest.mark.parametrize("alg", KEYS)
def test_parts_that_are_missing_or_of_another_kind_are_refused(alg: str) -> None:
    for name in sealed(alg):
        for value in (None, 7, [], {}, "!", "A"):
            refused(alg, {**sealed(alg), name: value})
        refused(alg, {k: v for k, v in sealed(alg).items() if k != name})
    for whole in (None, [], "x", 7, {}):
        refused(alg, whole)
