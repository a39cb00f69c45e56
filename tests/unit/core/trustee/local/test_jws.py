"""Compact JWS: what is signed is verified, and nothing else is; checked against joserfc."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.trustee.local import jws
from crag_core.trustee.local.codec import b64url_encode

EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()
CLAIMS = {"exp": 100, "who": "汉"}


@pytest.mark.parametrize("key", [EC_KEY, ED_KEY])
def test_a_signed_token_is_verified(key: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
    assert jws.verify(jws.sign({}, CLAIMS, key), key.public_key()) == CLAIMS


def test_es256_tokens_are_read_by_another_implementation() -> None:
    from joserfc import jwt
    from joserfc.jwk import ECKey

    pem = EC_KEY.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for _ in range(20):  # r and s with leading zeros come up now and then
        token = jws.sign({}, CLAIMS, EC_KEY)
        found = jwt.decode(token, ECKey.import_key(pem), algorithms=["ES256"])
        assert found.claims == CLAIMS


def test_the_other_kind_of_key_is_refused() -> None:
    for token, key in (
        (jws.sign({}, CLAIMS, EC_KEY), ED_KEY.public_key()),
        (jws.sign({}, CLAIMS, ED_KEY), EC_KEY.public_key()),
        (jws.sign({"alg": "none"}, CLAIMS, EC_KEY), EC_KEY.public_key()),
        (jws.sign({"alg": "HS256"}, CLAIMS, ED_KEY), ED_KEY.public_key()),
    ):
        with pytest.raises(jws.BadToken, match="not signed with"):
            jws.verify(token, key)


def test_a_der_signature_is_refused() -> None:
    from cryptography.hazmat.primitives import hashes

    signed = jws.sign({}, CLAIMS, EC_KEY).rsplit(".", 1)[0]
    der = EC_KEY.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
    with pytest.raises(jws.BadToken, match="signature"):
        jws.verify(f"{signed}.{b64url_encode(der)}", EC_KEY.public_key())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    token = jws.sign({}, CLAIMS, EC_KEY)
    at = data.draw(st.integers(0, len(token) - 1))
    new = data.draw(st.sampled_from("AZaz09-_.="))
    if token[at] == new:
        return
    with pytest.raises(jws.BadToken):
        jws.verify(token[:at] + new + token[at + 1 :], EC_KEY.public_key())


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(jws.BadToken):
        jws.verify(text, ED_KEY.public_key())


def test_claims_that_are_no_object_are_refused() -> None:
    head = b64url_encode(json.dumps({"alg": "EdDSA"}).encode())
    signed = f"{head}.{b64url_encode(b'[]')}"
    token = f"{signed}.{b64url_encode(ED_KEY.sign(signed.encode()))}"
    with pytest.raises(jws.BadToken, match="claims"):
        jws.verify(token, ED_KEY.public_key())


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({}, "no exp"),
        ({"exp": 90}, "expired"),
        ({"exp": "100"}, "not a number"),
        ({"exp": True}, "not a number"),
        ({"exp": 1101}, "longer than"),
        ({"exp": 200, "nbf": 111}, "nbf"),
        ({"exp": 200, "iat": 111}, "iat"),
    ],
)
def test_times_are_checked(claims: dict[str, object], why: str) -> None:
    with pytest.raises(jws.BadToken, match=why):
        jws.check_times(claims, 100, leeway=10, longest=1000)


def test_times_within_the_leeway_hold() -> None:
    jws.check_times({"exp": 91, "iat": 110, "nbf": 110}, 100, leeway=10, longest=1000)
