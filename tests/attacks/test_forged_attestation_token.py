"""Somebody between user and Trustee mints the verdict that the user wants to see."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from crag_core.attestation.ear import verify_ear
from crag_core.errors import AttestationRejected
from support import ear_tokens
from support.ear_tokens import NOW, Authority, b64url, certificate, claims, jwk, submod

TRUSTEE = Authority(name="the Trustee's CA")
ATTACKER = Authority(name="the Trustee's CA")


def _refused(token: str, *rules: str) -> None:
    # The control: what the attacker started from is accepted, signed by us or by the test.
    for genuine in (TRUSTEE.token(), _signed(TRUSTEE.header(), claims(), TRUSTEE.key)):
        verify_ear(genuine, anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    with pytest.raises(AttestationRejected) as caught:
        verify_ear(token, anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    assert caught.value.details["rule"] in rules


def _signed(header: dict[str, Any], body: dict[str, Any], key: Any) -> str:
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{b64url(ear_tokens.sign(key, 'ES256', text.encode()))}"


def test_the_genuine_token_is_accepted() -> None:
    found = verify_ear(TRUSTEE.token(), anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    assert found.status == "affirming"


def test_token_minted_by_the_attacker_with_its_own_jwk() -> None:
    # What Trustee accepts as shipped (insecure_key = true).
    _refused(
        _signed({"alg": "ES256", "jwk": jwk(ATTACKER.key, "ES256")}, claims(), ATTACKER.key),
        "certificate",
    )


def test_chain_to_another_ca_of_the_same_name() -> None:
    _refused(ATTACKER.token(), "path")


def test_the_genuine_certificates_beside_another_key() -> None:
    header = TRUSTEE.header()
    header["jwk"] |= {name: jwk(ATTACKER.key, "ES256")[name] for name in "xy"}
    _refused(_signed(header, claims(), ATTACKER.key), "certificate")


def test_chain_to_another_ca_with_the_genuine_one_appended() -> None:
    header = ATTACKER.header()
    header["jwk"]["x5c"] = TRUSTEE.x5c(ATTACKER.leaf, TRUSTEE.ca)
    _refused(_signed(header, claims(), ATTACKER.key), "path")


def test_a_certificate_issued_with_the_genuine_signers_key() -> None:
    # A signer's key leaks for a moment: it may not make further signers.
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = certificate("more", key, "signer", TRUSTEE.key, ca=False)
    header = {"alg": "ES256", "jwk": jwk(key, "ES256")}
    header["jwk"]["x5c"] = TRUSTEE.x5c(leaf, TRUSTEE.leaf, TRUSTEE.ca)
    _refused(_signed(header, claims(), key), "path")


def test_ca_as_leaf() -> None:
    # The authority's own key signs, or somebody whom the authority made an authority.
    header = {"alg": "ES256", "jwk": jwk(TRUSTEE.ca_key, "ES256")}
    header["jwk"]["x5c"] = TRUSTEE.x5c(TRUSTEE.ca)
    _refused(_signed(header, claims(), TRUSTEE.ca_key), "path", "certificate")
    leaf = certificate("signer", TRUSTEE.key, TRUSTEE.name, TRUSTEE.ca_key, ca=True)
    header = TRUSTEE.header()
    header["jwk"]["x5c"] = TRUSTEE.x5c(leaf, TRUSTEE.ca)
    _refused(_signed(header, claims(), TRUSTEE.key), "path", "certificate")


def test_alg_none() -> None:
    for word in ("none", "None", "NONE", "nOnE", ""):
        body = b64url(json.dumps(claims()).encode())
        head = b64url(json.dumps(TRUSTEE.header(alg=word)).encode())
        _refused(f"{head}.{body}.", "algorithm", "form")
        _refused(f"{head}.{body}.{TRUSTEE.token().split('.')[2]}", "algorithm")


def test_hs256_with_the_public_key() -> None:
    point = TRUSTEE.key.public_key()
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    secrets = [
        TRUSTEE.pem,
        TRUSTEE.pem.strip(),
        point.public_bytes(serialization.Encoding.PEM, spki),
        point.public_bytes(serialization.Encoding.DER, spki),
        TRUSTEE.leaf.public_bytes(serialization.Encoding.DER),
    ]
    for secret in secrets:
        text = ".".join(
            b64url(json.dumps(part).encode()) for part in (TRUSTEE.header(alg="HS256"), claims())
        )
        mac = hmac.new(secret, text.encode(), hashlib.sha256).digest()
        _refused(f"{text}.{b64url(mac)}", "algorithm")


def test_wrong_curve() -> None:
    other = Authority("ES384", name=TRUSTEE.name, ca_key=TRUSTEE.ca_key)
    verify_ear(other.token(), anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    # A key of P-384 that signs as ES256, and one that says it is on another curve than it is.
    _refused(_signed(other.header(alg="ES256"), claims(), other.key), "key", "algorithm")
    for crv in ("P-384", "P-521", "secp256k1", "", None):
        header = TRUSTEE.header()
        header["jwk"]["crv"] = crv
        _refused(_signed(header, claims(), TRUSTEE.key), "key", "certificate")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384"])
def test_the_algorithm_rewritten(algorithm: str) -> None:
    header, body, signature = TRUSTEE.token().split(".")
    padded = header + "=" * (-len(header) % 4)
    changed = json.loads(base64.urlsafe_b64decode(padded)) | {"alg": algorithm}
    forged = b64url(json.dumps(changed).encode())
    _refused(f"{forged}.{body}.{signature}", "algorithm", "key")
    _refused(f"{forged}.{body}.", "algorithm", "key")


def test_the_status_rewritten_in_a_genuine_refusal() -> None:
    low = submod(**{"ear.status": "contraindicated"})
    header, body, signature = TRUSTEE.token(claims(submods={"cpu0": low})).split(".")
    text = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    forged = b64url(text.replace(b"contraindicated", b"affirming"))
    _refused(f"{header}.{forged}.{signature}", "signature")


def test_a_genuine_refusal_with_a_second_status_in_front() -> None:
    low = submod(**{"ear.status": "contraindicated"})
    body = json.dumps(claims(submods={"cpu0": low}))
    doubled = body.replace('"ear.status"', '"ear.status": "affirming", "ear.status"', 1)
    text = f"{b64url(json.dumps(TRUSTEE.header()).encode())}.{b64url(doubled.encode())}"
    signature = ear_tokens.sign(TRUSTEE.key, "ES256", text.encode())
    _refused(f"{text}.{b64url(signature)}", "form")


def test_expired_token() -> None:
    _refused(TRUSTEE.token(claims(iat=NOW - 86_400, exp=NOW - 86_100)), "time")
    _refused(TRUSTEE.token(claims(iat=NOW - 400, exp=NOW - 61)), "time")


def test_not_yet_valid_token() -> None:
    _refused(TRUSTEE.token(claims(iat=NOW + 3600, exp=NOW + 3900)), "time")
    _refused(TRUSTEE.token(claims(nbf=NOW + 3600, exp=NOW + 3900)), "time")


def test_other_policy_id() -> None:
    lax = submod(**{"ear.appraisal-policy-id": "allow-all"})
    _refused(TRUSTEE.token(claims(submods={"cpu0": lax})), "policy")
    _refused(TRUSTEE.token(claims(submods={"cpu0": submod(), "gpu0": lax})), "policy")


@pytest.mark.parametrize("status", ["warning", "contraindicated", "none", None])
def test_second_submod_not_affirming(status: str | None) -> None:
    both = {"cpu0": submod(), "gpu0": submod("nvidia")}
    found = TRUSTEE.token(claims(submods=both))
    verify_ear(found, anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    both["gpu0"]["ear.status"] = status
    _refused(TRUSTEE.token(claims(submods=both)), "status")


def test_missing_eat_profile() -> None:
    body = claims()
    del body["eat_profile"]
    _refused(TRUSTEE.token(body), "profile")
    _refused(TRUSTEE.token(claims(eat_profile="tag:attacker.example,2024:x")), "profile")


def test_a_verdict_about_software_under_the_name_of_hardware_beside_it() -> None:
    both = submod("tdx")
    both["ear.veraison.annotated-evidence"]["sample"] = {}
    _refused(TRUSTEE.token(claims(submods={"cpu0": both})), "evidence")
