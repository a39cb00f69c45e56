"""Somebody between user and Trustee mints the verdict that the user wants to see."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crag_core.attestation.ear import verify_ear
from crag_core.errors import AttestationRejected
from support import ear_tokens
from support.ear_tokens import NOW, Authority, b64url, certificate, claims, jwk, submod

TRUSTEE = Authority(name="the Trustee's CA")
ATTACKER = Authority(name="the Trustee's CA")


def _refused(token: str, *rules: str) -> None:
    with pytest.raises(AttestationRejected) as caught:
        verify_ear(token, anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    assert caught.value.details["rule"] in rules


def _signed(header: dict[str, Any], body: dict[str, Any], key: Any) -> str:
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, body))
    return f"{text}.{b64url(ear_tokens.sign(key, 'ES256', text.encode()))}"


def test_the_genuine_token_is_accepted() -> None:
    found = verify_ear(TRUSTEE.token(), anchor_pem=TRUSTEE.pem, policy_id="default", now=NOW)
    assert found.status == "affirming"


def test_a_key_of_the_attackers_own_in_the_header() -> None:
    # What Trustee accepts as shipped (insecure_key = true).
    _refused(
        _signed({"alg": "ES256", "jwk": jwk(ATTACKER.key, "ES256")}, claims(), ATTACKER.key),
        "certificate",
    )


def test_a_whole_authority_of_the_same_name() -> None:
    _refused(ATTACKER.token(), "path")


def test_the_genuine_certificates_beside_another_key() -> None:
    header = TRUSTEE.header()
    header["jwk"] |= {name: jwk(ATTACKER.key, "ES256")[name] for name in "xy"}
    _refused(_signed(header, claims(), ATTACKER.key), "certificate")


def test_the_genuine_authority_appended_to_another_signer() -> None:
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


def test_yesterdays_verdict() -> None:
    _refused(TRUSTEE.token(claims(iat=NOW - 86_400, exp=NOW - 86_100)), "time")


def test_a_verdict_about_software_under_the_name_of_hardware_beside_it() -> None:
    both = submod("tdx")
    both["ear.veraison.annotated-evidence"]["sample"] = {}
    _refused(TRUSTEE.token(claims(submods={"cpu0": both})), "evidence")
