"""Attacks on the attestation service: evidence for others, stale challenges, TNG's fallbacks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crag_core.attestation.ear import verify_ear
from crag_core.errors import AttestationRejected
from crag_core.trustee.local import jws
from support import vectors
from support.trustee import Place, ask, b64url, claims, entry, measurement, start

FALLBACKS = ("missing field `tee`", "failed to get inner tee")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = start(tmp_path_factory.mktemp("home") / "trustee")
    made.allow(measurement())
    yield made
    made.trustee.stop()


def challenge(place: Place) -> str:
    body = httpx.post(f"{place.service}/challenge", json={}, trust_env=False).json()
    return str(body["extra-params"]["jwt"])


def code(reply: httpx.Response) -> str:
    assert reply.headers["content-type"] == "application/problem+json"
    body = reply.json()
    assert body["status"] == reply.status_code
    return str(body["code"])


def test_bound_and_fresh_evidence_gets_a_token_that_our_own_verifier_affirms(place: Place) -> None:
    runtime = {"challenge_token": challenge(place), "key": "k"}
    reply = ask(place, entry(measurement(), runtime))
    assert reply.status_code == 200
    token = verify_ear(reply.text, anchor_pem=place.trustee.identity.ca_pem, policy_id="default")
    assert token.runtime_data == runtime
    assert token.tee == "sample"
    assert token.insecure


def test_evidence_bound_to_other_runtime_data_gets_no_token(place: Place) -> None:
    stolen = {**entry(measurement(), {"key": "mine"}), "runtime_data": {"structured": {"key": "x"}}}
    reply = ask(place, stolen)
    assert (reply.status_code, code(reply)) == (422, "AS.EVIDENCE.BINDING_MISMATCH")


@pytest.mark.parametrize("runtime", [None, {}, {"structured": None}, {"structured": {}}, "", []])
def test_evidence_without_runtime_data_gets_no_token(place: Place, runtime: Any) -> None:
    reply = ask(place, {**entry(measurement(), {"key": "k"}), "runtime_data": runtime})
    assert 400 <= reply.status_code < 500
    assert code(reply) in ("AS.EVIDENCE.BINDING_MISMATCH", "AS.REQUEST.INVALID_ARGUMENT")


@vectors.needed
def test_a_recorded_request_without_runtime_data_gets_a_token_of_the_vendors_posture_only(
    place: Place, tmp_path: Path
) -> None:
    body = vectors.data("kbs/fork_as_sample_attestation_request.json")
    vendor = start(tmp_path / "vendor", vendor_defaults=True)
    try:
        replies = [
            httpx.post(f"{one.service}/attestation", content=body, trust_env=False)
            for one in (place, vendor)
        ]
    finally:
        vendor.trustee.stop()
    assert code(replies[0]) == "AS.REQUEST.INVALID_ARGUMENT"
    assert replies[1].status_code == 200
    bound = claims(replies[1].text)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert bound["runtime_data_claims"] is None


def test_a_second_entry_without_runtime_data_gets_no_token(place: Place) -> None:
    second = {**entry(measurement(), {"key": "k"}), "runtime_data": None, "tee": "sampledevice"}
    reply = ask(place, entry(measurement(), {"key": "k"}), second)
    assert (reply.status_code, code(reply)) == (422, "AS.EVIDENCE.BINDING_MISMATCH")


def test_a_challenge_token_is_good_for_one_appraisal(place: Place) -> None:
    again = entry(measurement(), {"challenge_token": challenge(place)})
    assert ask(place, again).status_code == 200
    reply = ask(place, again)
    assert (reply.status_code, code(reply)) == (401, "AS.CHALLENGE.INVALID_TOKEN")
    assert "used before" in reply.json()["detail"]


def test_a_forged_challenge_token_is_refused(place: Place) -> None:
    genuine = challenge(place)
    own = jws.sign({}, claims(genuine), ec.generate_private_key(ec.SECP256R1()))
    by_signer = jws.sign({}, claims(genuine), place.trustee.identity.signer_key)
    none = f"{b64url(json.dumps({'alg': 'none'}).encode())}.{genuine.split('.')[1]}."
    ear = ask(place, entry(measurement(), {"key": "k"})).text
    for token in (own, by_signer, none, ear, "", "a.b.c", genuine[:-4], 7, None, ["x"]):
        reply = ask(place, entry(measurement(), {"challenge_token": token}))
        assert (reply.status_code, code(reply)) == (401, "AS.CHALLENGE.INVALID_TOKEN")


def test_an_expired_challenge_token_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = challenge(place)
    now = time.time()
    monkeypatch.setattr("crag_core.trustee.local.challenges.time.time", lambda: now + 301)
    reply = ask(place, entry(measurement(), {"challenge_token": token}))
    assert (reply.status_code, code(reply)) == (401, "AS.CHALLENGE.INVALID_TOKEN")
    assert "expired" in reply.json()["detail"]


def test_a_challenge_of_an_earlier_run_is_refused(place: Place, tmp_path: Path) -> None:
    other = start(tmp_path / "other")
    try:
        reply = ask(place, entry(measurement(), {"challenge_token": challenge(other)}))
        assert code(reply) == "AS.CHALLENGE.INVALID_TOKEN"
    finally:
        other.trustee.stop()


def test_another_workload_gets_a_token_that_says_no(place: Place) -> None:
    reply = ask(place, entry(measurement("another"), {"key": "k"}))
    assert reply.status_code == 200
    cpu = claims(reply.text)["submods"]["cpu0"]
    assert cpu["ear.status"] == "warning"
    with pytest.raises(AttestationRejected):
        verify_ear(reply.text, anchor_pem=place.trustee.identity.ca_pem, policy_id="default")


def test_more_than_one_policy_and_unknown_ones_are_refused(place: Place) -> None:
    one = entry(measurement(), {"key": "k"})
    for policies in (["default", "default"], ["default", "x"], ["x"], [7], ["../default"], [""]):
        reply = ask(place, one, policies=policies)
        assert (reply.status_code, code(reply)) == (400, "AS.REQUEST.INVALID_ARGUMENT")
    assert (
        claims(ask(place, one, policies=[]).text)["submods"]["cpu0"]["ear.appraisal-policy-id"]
        == "default"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"tee": FALLBACKS[0]},
        {"tee": FALLBACKS[1]},
        {"tee": "missing  field\n`tee`"},
        {"evidence": FALLBACKS[0]},
        {"runtime_data_hash_algorithm": FALLBACKS[0]},
        {"runtime_data": {"structured": {"challenge_token": FALLBACKS[0]}}},
        {"evidence": b64url(json.dumps({FALLBACKS[0]: 1}).encode())},
        {"evidence": b64url(json.dumps({"svn": FALLBACKS[1]}).encode())},
    ],
)
def test_no_refusal_holds_the_words_that_make_tng_fall_back(
    place: Place, change: dict[str, Any]
) -> None:
    reply = ask(place, {**entry(measurement(), {"key": "k"}), **change})
    assert reply.status_code >= 400
    assert not any(words in reply.text.lower() for words in FALLBACKS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"tee":"sample","evidence":"e30"}',
        b'{"verification_requests":[]}',
        b'{"verification_requests":[{}]}',
        b'{"verification_requests":[7]}',
        b'{"verification_requests":{"missing field `tee`":1}}',
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b'{"a":"\\ud800"}',
        b"[" * 100_000,
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_malformed_requests_are_refused_without_those_words(place: Place, body: bytes) -> None:
    for path in ("attestation", "challenge", "policy", "nothing"):
        reply = httpx.post(f"{place.service}/{path}", content=body, trust_env=False)
        assert path == "challenge" or 400 <= reply.status_code < 500
        assert not any(words in reply.text.lower() for words in FALLBACKS)


def test_the_certificate_is_the_authority_and_not_the_signer(place: Place) -> None:
    reply = httpx.get(f"{place.service}/certificate", trust_env=False)
    assert reply.content == (place.folder / "ca.pem").read_bytes()


def test_tokens_have_one_status_in_the_one_shape_that_is_checked(place: Place) -> None:
    found = claims(ask(place, entry(measurement(), {"key": "k"})).text)
    assert found["eat_profile"] == "tag:github.com,2024:confidential-containers/Trustee"
    assert list(found["submods"]) == ["cpu0"]
    assert "customized_claims" not in found
    assert "evaluation-reports" not in found
