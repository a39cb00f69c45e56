"""Attacks on the key broker's handshake: what is bound, what is fresh, what is released."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from crag_core.attestation import sample
from crag_core.trustee.local import jws
from crag_core.trustee.local.codec import b64url_encode
from support.trustee import (
    RESOURCE,
    SECRET,
    Handshake,
    Place,
    ask,
    claims,
    entry,
    kind,
    measurement,
    start,
)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = start(tmp_path / "trustee")
    yield made
    made.trustee.stop()


@pytest.fixture
def peer(place: Place) -> Iterator[Handshake]:
    made = Handshake(place.kbs)
    yield made
    made.http.close()


def test_the_right_workload_gets_the_key(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    assert peer.auth().status_code == 200
    assert peer.attest(measurement()).status_code == 200
    reply = peer.resource()
    assert reply.status_code == 200
    assert SECRET.hex() not in reply.text
    assert peer.open(reply) == SECRET


def test_evidence_of_another_key_is_refused(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    victim = Handshake(place.kbs)
    victim.auth()
    peer.auth()
    evidence = sample.build(measurement(), peer.bound(victim.jwk))
    reply = peer.http.post(f"{place.kbs}/attest", json=peer.body(evidence))
    assert (reply.status_code, kind(reply)) == (401, "AttestationError")
    assert "bound to something else" in reply.json()["detail"]
    assert kind(peer.resource()) == "TokenNotFound"


def test_replayed_evidence_is_refused(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    peer.auth()
    evidence = sample.build(measurement(), peer.bound())
    again = Handshake(place.kbs)
    again.auth()
    again.jwk = peer.jwk
    reply = again.http.post(f"{place.kbs}/attest", json=again.body(evidence))
    assert "bound to something else" in reply.json()["detail"]


def test_nonce_reuse_across_sessions_is_refused(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    peer.auth()
    old = peer.nonce
    assert peer.attest(measurement()).status_code == 200
    replay = Handshake(place.kbs)
    replay.auth()
    replay.nonce, replay.jwk = old, peer.jwk
    reply = replay.attest(measurement())
    assert (reply.status_code, kind(reply)) == (401, "AttestationError")
    assert "nonce" in reply.json()["detail"]


def test_a_nonce_is_good_for_one_attempt(place: Place, peer: Handshake) -> None:
    peer.auth()
    assert peer.attest(measurement()).status_code == 200
    reply = peer.attest(measurement())
    assert kind(reply) == "AttestationError"
    assert "used already" in reply.json()["detail"]


def test_a_failed_attempt_ends_the_session(place: Place, peer: Handshake) -> None:
    peer.auth()
    assert peer.attest(measurement(), **{"runtime-data": None}).status_code == 401
    assert "used already" in peer.attest(measurement()).json()["detail"]


def test_another_workload_is_denied_and_learns_nothing(place: Place, peer: Handshake) -> None:
    place.allow(measurement("another"))
    peer.auth()
    assert peer.attest(measurement()).status_code == 200
    there, missing = peer.resource(), peer.resource("default/crag/missing")
    assert there.status_code == missing.status_code == 403
    assert there.text == missing.text
    assert kind(there) == "PolicyDeny"


def test_without_a_policy_nobody_gets_anything(place: Place, peer: Handshake) -> None:
    with place.admin() as admin:
        admin.set_resource(RESOURCE, SECRET)
        admin.set_reference_values(measurement().reference_values())
    peer.auth()
    token = peer.attest(measurement()).json()["token"]
    assert claims(token)["submods"]["cpu0"]["ear.status"] == "affirming"
    assert kind(peer.resource()) == "PolicyDeny"


def test_without_reference_values_nobody_is_affirmed(place: Place, peer: Handshake) -> None:
    peer.auth()
    cpu = claims(peer.attest(measurement()).json()["token"])["submods"]["cpu0"]
    assert cpu["ear.status"] == "warning"
    assert cpu["ear.trustworthiness-vector"]["executables"] == 33


def test_one_wrong_digest_is_enough_to_be_refused(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    for name in ("crag.software", "crag.model", "crag.configuration"):
        with place.admin() as admin:
            admin.set_reference_values({**measurement().reference_values(), name: ["0" * 64]})
        again = Handshake(place.kbs)
        again.auth()
        again.attest(measurement())
        assert kind(again.resource()) == "PolicyDeny"


def test_a_forged_token_unlocks_nothing(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    peer.auth()
    found = claims(peer.attest(measurement()).json()["token"])
    own = ec.generate_private_key(ec.SECP256R1())
    numbers = own.public_key().public_numbers()
    jwk: dict[str, Any] = {
        **place.trustee.identity.jwk(),
        "x": b64url_encode(numbers.x.to_bytes(32, "big")),
        "y": b64url_encode(numbers.y.to_bytes(32, "big")),
    }
    stranger = Handshake(place.kbs)
    for header in ({"jwk": jwk}, {"jwk": place.trustee.identity.jwk()}, {}):
        forged = jws.sign(header, found, own)
        for name, value in (("Attestation", forged), ("Authorization", f"Bearer {forged}")):
            reply = stranger.resource(**{name: value})
            assert (reply.status_code, kind(reply)) == (401, "TokenVerifierError")


def test_an_expired_token_unlocks_nothing(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    peer.auth()
    found = claims(peer.attest(measurement()).json()["token"])
    key = place.trustee.identity.signer_key
    fresh = jws.sign({}, found, key)
    stranger = Handshake(place.kbs)
    assert stranger.resource(Attestation=fresh).status_code == 200
    for change in ({"exp": int(time.time())}, {"exp": None}, {"exp": True}, {"exp": "2999"}):
        stale = jws.sign({}, {**found, **change}, key)
        assert kind(stranger.resource(Attestation=stale)) == "TokenVerifierError"


def test_a_token_of_the_attestation_service_unlocks_nothing(place: Place) -> None:
    place.allow(measurement())
    peer = Handshake(place.kbs)
    reply = ask(place, entry(measurement(), {"tee-pubkey": peer.jwk, "nonce": "chosen"}))
    assert reply.status_code == 200
    refused = peer.resource(Attestation=reply.text)
    assert (refused.status_code, kind(refused)) == (401, "TokenVerifierError")


def test_a_challenge_token_unlocks_nothing(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    body = peer.http.post(f"{place.service}/challenge", json={}).json()
    reply = peer.resource(Attestation=body["extra-params"]["jwt"])
    assert kind(reply) == "TokenVerifierError"


def test_sample_evidence_is_refused_unless_the_trustee_was_told_to(tmp_path: Path) -> None:
    strict = start(tmp_path / "strict", accept_sample=False)
    try:
        strict.allow(measurement())
        peer = Handshake(strict.kbs)
        peer.auth()
        reply = peer.attest(measurement())
        assert (reply.status_code, kind(reply)) == (401, "AttestationError")
        assert "--insecure-accept-sample-evidence" in reply.json()["detail"]
        assert kind(peer.resource()) == "TokenNotFound"
        device = Handshake(strict.kbs)
        device.auth("sampledevice")
        assert device.attest(measurement()).status_code == 401
    finally:
        strict.trustee.stop()


def test_an_unverifiable_tee_is_refused_even_where_samples_are_accepted(place: Place) -> None:
    place.allow(measurement())
    for tee in ("sampledevice", "tpm", "system", "snp"):
        peer = Handshake(place.kbs)
        peer.auth(tee)
        assert "no verifier" in peer.attest(measurement()).json()["detail"]


def test_additional_evidence_that_nothing_verifies_is_refused(
    place: Place, peer: Handshake
) -> None:
    peer.auth()
    extra = json.dumps({"sampledevice": {}})
    evidence = sample.build(measurement(), peer.bound())
    body = peer.body(
        evidence, **{"tee-evidence": {"primary_evidence": evidence, "additional_evidence": extra}}
    )
    reply = peer.http.post(f"{place.kbs}/attest", json=body)
    assert (reply.status_code, kind(reply)) == (401, "AttestationError")


@pytest.mark.parametrize(
    "change",
    [
        {"kty": "oct", "k": "AA"},
        {"alg": "RSA1_5"},
        {"crv": "P-384"},
        {"x": "AAAA"},
        {"kty": "RSA", "alg": "RSA1_5", "n": "AQAB", "e": "AQAB"},
        {"kty": "RSA", "alg": "RSA-OAEP-256", "n": "AQAB", "e": "AQAB"},
    ],
)
def test_a_weak_or_foreign_key_gets_nothing_encrypted_to_it(
    place: Place, peer: Handshake, change: dict[str, str]
) -> None:
    place.allow(measurement())
    peer.auth()
    peer.jwk = {**peer.jwk, **change}
    if change.get("kty") == "RSA":
        peer.jwk = change
    attested = peer.attest(measurement())
    reply = peer.resource()
    assert attested.status_code == 401 or kind(reply) == "JweError"
    assert reply.status_code in (400, 401)


def test_the_session_of_one_peer_is_not_guessed_by_another(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    peer.auth()
    peer.attest(measurement())
    stranger = Handshake(place.kbs)
    for cookie in ("", "0" * 32, "../", "null"):
        reply = stranger.resource(Cookie=f"kbs-session-id={cookie}")
        assert kind(reply) == "TokenNotFound"


def test_a_release_is_in_the_audit_log_and_no_content_is(place: Place, peer: Handshake) -> None:
    place.allow(measurement())
    peer.auth()
    token = peer.attest(measurement()).json()["token"]
    peer.resource()
    last = place.audit()[-1]
    assert last["event"] == "released"
    assert last["resource"] == RESOURCE
    assert last["insecure"] is True
    assert last["measurement"]["software"] == measurement().reference_values()["crag.software"][0]
    assert last["policy"]["id"] == "default"
    text = (place.folder / "audit.jsonl").read_bytes()
    for hidden in (SECRET, SECRET.hex().encode(), token.encode(), peer.nonce.encode()):
        assert hidden not in text


def test_a_session_unlocks_nothing_longer_than_its_token_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brief = start(tmp_path / "brief", token_seconds=10)
    try:
        brief.allow(measurement())
        peer = Handshake(brief.kbs)
        peer.auth()
        peer.attest(measurement())
        assert peer.resource().status_code == 200
        now = time.time()
        monkeypatch.setattr("crag_core.trustee.local.kbs.time.time", lambda: now + 11)
        assert kind(peer.resource()) == "TokenVerifierError"
    finally:
        brief.trustee.stop()
