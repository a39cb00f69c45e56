"""Resources encrypted to a workload's key: opened by another implementation, in Trustee's form."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey, RSAKey

from crag_core.trustee.local.jwe_encrypt import UnsupportedKey, encrypt

EC_KEY = ECKey.generate_key("P-256")
RSA_KEY = RSAKey.generate_key(2048)


def public(key: ECKey | RSAKey, alg: str) -> dict[str, str]:
    found = {name: str(value) for name, value in key.as_dict(private=False).items()}
    return {**{k: v for k, v in found.items() if k != "kid"}, "alg": alg}


EC_JWK, RSA_JWK = public(EC_KEY, "ECDH-ES+A256KW"), public(RSA_KEY, "RSA-OAEP-256")


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=500))
def test_another_implementation_opens_what_is_encrypted_to_a_curve_key(data: bytes) -> None:
    found = jwe.decrypt_json(
        encrypt(EC_JWK, data), EC_KEY, algorithms=["ECDH-ES+A256KW", "A256GCM"]
    )
    assert found.plaintext == data


def test_another_implementation_opens_what_is_encrypted_to_an_rsa_key() -> None:
    found = jwe.decrypt_json(
        encrypt(RSA_JWK, b"data"), RSA_KEY, algorithms=["RSA-OAEP-256", "A256GCM"]
    )
    assert found.plaintext == b"data"


def test_the_header_is_compact_and_in_the_order_that_trustees_client_expects() -> None:
    protected = encrypt(EC_JWK, b"x")["protected"]
    text = base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)).decode()
    header = json.loads(text)
    assert list(header) == ["alg", "enc", "epk"]
    assert list(header["epk"]) == ["crv", "kty", "x", "y"]
    assert text == json.dumps(header, separators=(",", ":"))


def test_nothing_is_the_same_twice() -> None:
    one, two = encrypt(EC_JWK, b"same"), encrypt(EC_JWK, b"same")
    assert not {one[name] for name in one} & {two[name] for name in two}


def off_curve() -> dict[str, str]:
    return {**EC_JWK, "y": EC_JWK["x"]}


def exponent_three() -> dict[str, str]:
    numbers = rsa.generate_private_key(3, 2048).public_key().public_numbers()
    n = base64.urlsafe_b64encode(numbers.n.to_bytes(256, "big")).decode().rstrip("=")
    return {"kty": "RSA", "alg": "RSA-OAEP-256", "n": n, "e": "Aw"}


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {**EC_JWK, "alg": "ECDH-ES"},
        {**EC_JWK, "alg": "RSA1_5"},
        {**EC_JWK, "crv": "P-384"},
        {**EC_JWK, "x": "!!"},
        {**EC_JWK, "x": ""},
        {**RSA_JWK, "alg": "RSA-OAEP-512"},
        {**RSA_JWK, "alg": "RSA-OAEP"},
        {**RSA_JWK, "n": "AQAB"},
        {**RSA_JWK, "kty": "EC"},
        {"kty": "oct", "alg": "A256KW", "k": "AA"},
        off_curve(),
        exponent_three(),
    ],
)
def test_weak_and_foreign_keys_are_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(UnsupportedKey):
        encrypt(jwk, b"secret")


def test_the_point_at_another_curve_is_refused() -> None:
    numbers = ec.generate_private_key(ec.SECP256K1()).public_key().public_numbers()
    x, y = (
        base64.urlsafe_b64encode(n.to_bytes(32, "big")).decode().rstrip("=")
        for n in (numbers.x, numbers.y)
    )
    with pytest.raises(UnsupportedKey, match="not a point"):
        encrypt({**EC_JWK, "x": x, "y": y}, b"secret")
