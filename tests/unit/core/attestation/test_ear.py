from __future__ import annotations

import base64
import copy
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from crag_core.attestation.ear import EarToken, verify_ear
from crag_core.errors import AttestationRejected, BadInput
from support import ear_tokens
from support.ear_tokens import NOW, Authority, b64url, certificate, claims, jwk, pem, submod

VECTORS = Path(__file__).resolve().parents[4].parent / "shared" / "vectors"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def _verify(token: str, anchor: bytes, **changes: Any) -> EarToken:
    return verify_ear(token, **{"anchor_pem": anchor, "policy_id": "default", "now": NOW} | changes)


def _refused(rule: str, token: str, anchor: bytes, **changes: Any) -> AttestationRejected:
    with pytest.raises(AttestationRejected) as refused:
        _verify(token, anchor, **changes)
    assert refused.value.details["rule"] == rule
    checks = refused.value.details["checks"]
    assert [check["ok"] for check in checks] == [True] * (len(checks) - 1) + [False]
    assert rule in refused.value.message
    return refused.value


def test_a_good_token_says_what_it_is_about(authority: Authority) -> None:
    found = _verify(authority.token(), authority.pem)
    assert (found.tee, found.status, found.policy_id) == ("sample", "affirming", "default")
    assert (found.issued, found.expires, found.issuer) == (NOW, NOW + 300, "tests")
    assert found.insecure
    assert found.runtime_data == {"nonce": "n"}
    assert found.measurements == {"measure_register": "ab" * 32, "crag.software": "cd" * 32}
    assert all(check.ok for check in found.checks)
    assert found.verdict().as_json()["verdict"] == "affirming"
    assert found.verdict().as_json()["insecure"] is True


def test_hardware_evidence_is_not_insecure(authority: Authority) -> None:
    body = claims("tdx")
    evidence = body["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    evidence["tdx"] = {
        "quote": {"body": {"mr_td": "aa" * 48, "report_data": "bb"}},
        "tcb_verification": {"tcb_status": "UpToDate"},
        "uefi_event_logs": [
            {"details": {"data": {"domain": "crag", "operation": "model", "content": "sha256:ee"}}},
            {"details": {"string": "x"}},
        ],
    }
    found = _verify(authority.token(body), authority.pem)
    assert (found.tee, found.insecure) == ("tdx", False)
    assert found.measurements == {"mr_td": "aa" * 48, "crag.model": "ee"}
    assert found.tcb == {"tcb_status": "UpToDate"}


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "RS384", "RS512"])
def test_every_allowed_algorithm_verifies(algorithm: str) -> None:
    signer = Authority(algorithm)
    assert _verify(signer.token(), signer.pem).status == "affirming"


def test_certificates_may_be_standard_base64_too() -> None:
    signer = Authority(der=lambda raw: base64.b64encode(raw).decode())
    assert _verify(signer.token(), signer.pem).status == "affirming"


def test_the_signers_certificate_alone_is_enough_below_the_pinned_one(
    authority: Authority,
) -> None:
    header = authority.header()
    header["jwk"]["x5c"] = authority.x5c(authority.leaf)
    assert _verify(authority.token(header=header), authority.pem).status == "affirming"


def test_an_intermediate_authority_is_followed(authority: Authority) -> None:
    middle_key = ec.generate_private_key(ec.SECP256R1())
    middle = certificate("middle", middle_key, authority.name, authority.ca_key, ca=True)
    leaf = certificate("signer", authority.key, "middle", middle_key, ca=False)
    header = authority.header()
    header["jwk"]["x5c"] = authority.x5c(leaf, middle)
    assert _verify(authority.token(header=header), authority.pem).status == "affirming"


def test_any_of_several_pinned_authorities_counts(authority: Authority) -> None:
    bundle = Authority(name="other").pem + authority.pem
    assert _verify(authority.token(), bundle).status == "affirming"


# form


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c.d", "!.!.!", "e30.e30.e30=", "é.e30.e30"])
def test_what_is_no_token_is_refused(authority: Authority, token: str) -> None:
    _refused("form", token, authority.pem)


@pytest.mark.parametrize("part", ['{"a":1,"a":2}', "[]", "1", '{"a":NaN}', "{", "[" * 9000])
def test_claims_that_are_not_one_object_are_refused(authority: Authority, part: str) -> None:
    header, _, signature = authority.token().split(".")
    _refused("form", f"{header}.{b64url(part.encode())}.{signature}", authority.pem)


@given(st.text(st.sampled_from("abcXYZ019-_.="), max_size=60))
def test_arbitrary_text_is_refused(text: str) -> None:
    with pytest.raises(AttestationRejected):
        _verify(text, ANCHOR)


ANCHOR = Authority().pem


# algorithm


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "PS256", "EdDSA", "es256", "", 5])
def test_an_algorithm_outside_the_list_is_refused(authority: Authority, algorithm: Any) -> None:
    _refused("algorithm", authority.token(header=authority.header(alg=algorithm)), authority.pem)


def test_an_unsigned_token_is_refused(authority: Authority) -> None:
    text = authority.token(header=authority.header(alg="none")).rsplit(".", 1)[0]
    _refused("algorithm", f"{text}.", authority.pem)


def test_a_mac_with_the_public_key_as_secret_is_refused(authority: Authority) -> None:
    header = authority.header(alg="HS256")
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims()))
    mac = hmac.digest(authority.pem, text.encode(), "sha256")
    _refused("algorithm", f"{text}.{b64url(mac)}", authority.pem)


@pytest.mark.parametrize("extension", ["crit", "b64"])
def test_header_extensions_are_refused(authority: Authority, extension: str) -> None:
    header = authority.header(**{extension: ["x"]})
    _refused("algorithm", authority.token(header=header), authority.pem)


# key


def test_a_token_without_a_key_is_refused(authority: Authority) -> None:
    header = authority.header(kid="k")
    del header["jwk"]
    _refused("key", authority.token(header=header), authority.pem)


@pytest.mark.parametrize(
    "change",
    [
        {"alg": "ES384"},
        {"alg": None},
        {"kty": "RSA"},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"x": "AA"},
        {"x": None},
        {"x": "!"},
        {"y": b64url(bytes(32))},
        {"use": "enc"},
        {"d": "AA"},
    ],
)
def test_a_key_that_does_not_fit_the_algorithm_is_refused(
    authority: Authority, change: dict[str, Any]
) -> None:
    header = authority.header()
    header["jwk"] |= change
    _refused("key", authority.token(header=header), authority.pem)


def test_an_rsa_algorithm_with_a_curves_key_is_refused(authority: Authority) -> None:
    header = authority.header(alg="RS256")
    header["jwk"]["alg"] = "RS256"
    _refused("key", authority.token(header=header), authority.pem)


def test_a_short_rsa_key_is_refused() -> None:
    signer = Authority("RS256")
    signer.key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505
    signer.leaf = certificate("signer", signer.key, signer.name, signer.ca_key, ca=False)
    _refused("key", signer.token(), signer.pem)


# certificate


def test_a_key_without_certificates_is_refused(authority: Authority) -> None:
    header = authority.header()
    del header["jwk"]["x5c"]
    _refused("certificate", authority.token(header=header), authority.pem)


@pytest.mark.parametrize("listed", [[], ["!"], [5], ["AAAA"], "x", ["AAAA"] * 6])
def test_unreadable_certificates_are_refused(authority: Authority, listed: Any) -> None:
    header = authority.header()
    header["jwk"]["x5c"] = listed
    _refused("certificate", authority.token(header=header), authority.pem)


def test_a_certificate_for_another_key_is_refused(authority: Authority) -> None:
    other = ec.generate_private_key(ec.SECP256R1())
    header = authority.header()
    header["jwk"] = jwk(other, "ES256") | {"x5c": authority.x5c(authority.leaf, authority.ca)}
    text = ".".join(b64url(json.dumps(part).encode()) for part in (header, claims()))
    token = f"{text}.{b64url(ear_tokens.sign(other, 'ES256', text.encode()))}"
    _refused("certificate", token, authority.pem)


def test_an_authority_that_signs_tokens_itself_is_refused() -> None:
    signer = Authority()
    signer.key, signer.leaf = signer.ca_key, signer.ca
    _refused("certificate", signer.token(), signer.pem)


# path


def test_a_signer_of_another_authority_is_refused(authority: Authority) -> None:
    _refused("path", authority.token(), Authority().pem)


def test_an_authority_of_the_same_name_is_not_the_pinned_one(authority: Authority) -> None:
    impostor = Authority(name=authority.name)
    _refused("path", impostor.token(), authority.pem)


def test_a_self_made_signer_is_refused(authority: Authority) -> None:
    signer = Authority()
    signer.leaf = certificate("self", signer.key, "self", signer.key, ca=False)
    header = signer.header()
    header["jwk"]["x5c"] = signer.x5c(signer.leaf)
    _refused("path", signer.token(header=header), authority.pem)


@pytest.mark.parametrize(("begins", "ends"), [(-900, -500), (500, 900)])
def test_a_signers_certificate_out_of_its_time_is_refused(begins: int, ends: int) -> None:
    signer = Authority()
    signer.leaf = certificate(
        "signer",
        signer.key,
        signer.name,
        signer.ca_key,
        ca=False,
        begins=NOW + begins,
        ends=NOW + ends,
    )
    assert "expired or not valid yet" in _refused("path", signer.token(), signer.pem).message


@pytest.mark.parametrize("ca", [False, None])
def test_a_signer_below_another_signer_is_refused(authority: Authority, ca: bool | None) -> None:
    fake_key = ec.generate_private_key(ec.SECP256R1())
    middle = certificate("middle", authority.key, authority.name, authority.ca_key, ca=ca)
    fake = Authority(ca_key=authority.key, name="middle")
    fake.key = fake_key
    fake.leaf = certificate("fake", fake_key, "middle", authority.key, ca=False)
    header = fake.header()
    header["jwk"]["x5c"] = fake.x5c(fake.leaf, middle)
    _refused("path", fake.token(header=header), authority.pem)


def test_an_issuer_that_may_not_sign_certificates_is_refused(authority: Authority) -> None:
    middle_key = ec.generate_private_key(ec.SECP256R1())
    middle = certificate(
        "middle", middle_key, authority.name, authority.ca_key, ca=True, cert_sign=False
    )
    leaf = certificate("signer", authority.key, "middle", middle_key, ca=False)
    header = authority.header()
    header["jwk"]["x5c"] = authority.x5c(leaf, middle)
    _refused("path", authority.token(header=header), authority.pem)


# signature


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_token_changed_anywhere_is_refused(authority: Authority, part: int) -> None:
    parts = authority.token().split(".")
    if part == 2:
        raw = bytearray(base64.urlsafe_b64decode(parts[2] + "=="))
        raw[5] ^= 1
        parts[2] = b64url(bytes(raw))
    else:
        padded = parts[part] + "=" * (-len(parts[part]) % 4)
        body = json.loads(base64.urlsafe_b64decode(padded))
        parts[part] = b64url(json.dumps(body | {"added": 1}).encode())
    _refused("signature", ".".join(parts), authority.pem)


@pytest.mark.parametrize("signature", ["", b64url(bytes(64)), b64url(b"\x01" * 63), b64url(b"0")])
def test_a_signature_of_another_form_is_refused(authority: Authority, signature: str) -> None:
    text = authority.token().rsplit(".", 1)[0]
    _refused("signature", f"{text}.{signature}", authority.pem)


# time


@pytest.mark.parametrize("late", [0, 300, 360])
def test_a_token_is_good_until_a_minute_after_its_end(authority: Authority, late: int) -> None:
    assert _verify(authority.token(), authority.pem, now=NOW + late).status == "affirming"


@pytest.mark.parametrize(
    "change",
    [
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "1795231320"},
        {"exp": True},
        {"exp": 1e12},
        {"iat": NOW + 61},
        {"iat": None},
        {"iat": NOW + 30, "exp": NOW + 20},
        {"nbf": NOW + 61},
        {"nbf": "x"},
    ],
)
def test_a_token_out_of_its_time_is_refused(authority: Authority, change: dict[str, Any]) -> None:
    _refused("time", authority.token(claims(**change)), authority.pem)


@pytest.mark.parametrize("missing", ["iat", "exp"])
def test_a_token_without_its_times_is_refused(authority: Authority, missing: str) -> None:
    body = claims()
    del body[missing]
    _refused("time", authority.token(body), authority.pem)


@pytest.mark.parametrize("change", [{"iat": NOW + 60}, {"nbf": NOW + 60}, {"exp": NOW + 9}])
def test_a_minute_between_the_clocks_is_tolerated(
    authority: Authority, change: dict[str, Any]
) -> None:
    body = claims(**change)
    body["exp"] = max(body["exp"], body["iat"])
    assert _verify(authority.token(body), authority.pem).status == "affirming"


# profile, submods, status, policy, evidence


@pytest.mark.parametrize("profile", [None, "", "tag:github.com,2023:veraison/ear", 5])
def test_another_profile_is_refused(authority: Authority, profile: Any) -> None:
    _refused("profile", authority.token(claims(eat_profile=profile)), authority.pem)


def test_the_legacy_token_without_a_status_is_refused(authority: Authority) -> None:
    body = {
        "iat": NOW,
        "exp": NOW + 300,
        "customized_claims": {"runtime_data": {"nonce": "n"}},
        "evaluation-reports": [{"policy-id": "default"}],
    }
    _refused("profile", authority.token(body), authority.pem)


@pytest.mark.parametrize(
    "submods", [None, {}, [], {"cpu": submod()}, {"cpu0": None}, {"cpu0": submod(), "gpu0": 1}]
)
def test_a_token_without_the_cpus_submodule_is_refused(authority: Authority, submods: Any) -> None:
    _refused("submods", authority.token(claims(submods=submods)), authority.pem)


@pytest.mark.parametrize(
    "change",
    [
        {"ear.status": "warning"},
        {"ear.status": "contraindicated"},
        {"ear.status": "none"},
        {"ear.status": "Affirming"},
        {"ear.status": None},
        {"ear.trustworthiness-vector": None},
        {"ear.trustworthiness-vector": {}},
        {"ear.trustworthiness-vector": {"executables": 33}},
        {"ear.trustworthiness-vector": {"executables": 3, "hardware": 97}},
        {"ear.trustworthiness-vector": {"executables": 3, "hardware": -1}},
        {"ear.trustworthiness-vector": {"executables": 3, "hardware": 1}},
        {"ear.trustworthiness-vector": {"executables": "3"}},
        {"ear.trustworthiness-vector": {"executables": True}},
        {"ear.trustworthiness-vector": {"executables": 0}},
    ],
)
@pytest.mark.parametrize("name", ["cpu0", "gpu0"])
def test_every_submodule_must_be_affirming(
    authority: Authority, name: str, change: dict[str, Any]
) -> None:
    submods = {"cpu0": submod(), "gpu0": submod("nvidia")}
    submods[name] |= change
    refused = _refused("status", authority.token(claims(submods=submods)), authority.pem)
    assert name in refused.message


def test_a_warning_says_which_part_was_not_recognised(authority: Authority) -> None:
    low = submod(
        **{
            "ear.status": "warning",
            "ear.trustworthiness-vector": {"executables": 33, "hardware": 2},
        }
    )
    refused = _refused("status", authority.token(claims(submods={"cpu0": low})), authority.pem)
    assert "executables 33" in refused.message


def test_another_policy_is_refused(authority: Authority) -> None:
    _refused("policy", authority.token(), authority.pem, policy_id="strict")
    assert _verify(authority.token(), authority.pem, policy_id=None).policy_id == "default"


@pytest.mark.parametrize("other", ["other", None, ["default"], ""])
def test_submodules_with_different_policies_are_refused(authority: Authority, other: Any) -> None:
    gpu = submod("nvidia", **{"ear.appraisal-policy-id": other})
    body = claims(submods={"cpu0": submod(), "gpu0": gpu})
    for policy_id in ("default", None):
        _refused("policy", authority.token(body), authority.pem, policy_id=policy_id)


@pytest.mark.parametrize(
    "evidence",
    [
        {},
        {"runtime_data_claims": {"nonce": "n"}},
        {"runtime_data_claims": {"nonce": "n"}, "unheard-of": {}},
        {"runtime_data_claims": {"nonce": "n"}, "tdx": {}, "sample": {}},
        {"sample": {}},
        {"sample": {}, "runtime_data_claims": None},
        {"sample": {}, "runtime_data_claims": {}},
    ],
)
def test_evidence_that_is_not_clearly_of_one_kind_and_bound_is_refused(
    authority: Authority, evidence: dict[str, Any]
) -> None:
    cpu = submod(**{"ear.veraison.annotated-evidence": evidence})
    _refused("evidence", authority.token(claims(submods={"cpu0": cpu})), authority.pem)


def test_one_submodule_of_software_makes_the_whole_token_insecure(authority: Authority) -> None:
    body = claims(submods={"cpu0": submod("tdx"), "gpu0": submod("sampledevice")})
    found = _verify(authority.token(body), authority.pem)
    assert (found.tee, found.insecure) == ("tdx", True)


# anchors and recorded tokens


@pytest.mark.parametrize("anchor", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_a_pinned_file_without_a_certificate_is_bad_input(
    authority: Authority, anchor: bytes
) -> None:
    with pytest.raises(BadInput):
        _verify(authority.token(), anchor)


def test_the_refusal_never_repeats_the_token(authority: Authority) -> None:
    token = authority.token(claims(exp=NOW - 400, iat=NOW - 700))
    refused = _refused("time", token, authority.pem)
    assert token not in json.dumps(refused.as_json())
    assert refused.__cause__ is None


def test_a_real_token_without_certificates_is_refused_for_that(authority: Authority) -> None:
    path = VECTORS / "tokens" / "fork_ear_sample.jwt"
    if not path.is_file():
        pytest.skip(f"recorded tokens are absent ({path.parent})")
    _refused("certificate", path.read_text(), authority.pem, now=1_753_862_700)


def test_the_claims_of_a_real_token_pass_or_fail_by_our_rules(authority: Authority) -> None:
    path = VECTORS / "kbs" / "rcar_transcript.json"
    if not path.is_file():
        pytest.skip(f"recorded handshakes are absent ({path.parent})")
    recorded = json.loads(path.read_text())
    current = recorded["v1.9.0"]["token_claims"]
    found = _verify(authority.token(copy.deepcopy(current)), authority.pem, now=current["iat"])
    assert found.runtime_data["additional-evidence"] == ""
    legacy = recorded["v1.5.2"]["token_claims"]
    _refused("profile", authority.token(legacy), authority.pem, now=legacy["iat"])


def test_a_self_signed_signer_may_be_pinned_itself() -> None:
    signer = Authority()
    signer.leaf = certificate("self", signer.key, "self", signer.key, ca=False)
    header = signer.header()
    header["jwk"]["x5c"] = signer.x5c(signer.leaf)
    assert _verify(signer.token(header=header), pem(signer.leaf)).status == "affirming"


def test_a_certificate_of_a_curve_that_nobody_knows_is_refused(authority: Authority) -> None:
    header = authority.header()
    der = bytearray(base64.urlsafe_b64decode(header["jwk"]["x5c"][0] + "=="))
    curve = bytes.fromhex("06082a8648ce3d030107")
    der[der.index(curve) + len(curve) - 1] ^= 0x20
    header["jwk"]["x5c"][0] = b64url(bytes(der))
    _refused("certificate", authority.token(header=header), authority.pem)
