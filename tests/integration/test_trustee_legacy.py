"""Protocol 0.1.0, as Trustee 1.5.2 and Trustiflux 1.3.1 speak it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crag_core.attestation import sample
from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.evidence import SampleSource
from crag_core.errors import AttestationRejected, PolicyDenied
from crag_core.trustee.jwe import RSA_LEGACY, TeeKey
from crag_core.trustee.kbs import KbsClient
from crag_core.trustee.rcar import LEGACY, Dialect
from support.trustee import RESOURCE, SECRET, Place, claims, kind, measurement, start


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = start(tmp_path / "trustee", legacy=True)
    yield made
    made.trustee.stop()


class Old:
    """A handshake of an old client, by hand."""

    def __init__(self, kbs: str) -> None:
        self.kbs = kbs
        self.http = httpx.Client(trust_env=False, timeout=10)
        self.key = TeeKey.generate(RSA_LEGACY)
        self.nonce = ""

    def auth(self, **change: Any) -> httpx.Response:
        extra = json.dumps({"supported-hash-algorithms": ["sha384"]})
        body = {"version": "0.1.0", "tee": "sample", "extra-params": extra, **change}
        answer = self.http.post(f"{self.kbs}/auth", json=body)
        self.nonce = answer.json().get("nonce", "")
        return answer

    def attest(self, **change: Any) -> httpx.Response:
        bound = canonical_json({"nonce": self.nonce, "tee-pubkey": self.key.jwk})
        evidence = sample.build(measurement(), hashlib.sha384(bound).digest())
        body = {"tee-pubkey": self.key.jwk, "tee-evidence": json.dumps(evidence), **change}
        return self.http.post(f"{self.kbs}/attest", json=body)

    def resource(self, name: str = RESOURCE) -> httpx.Response:
        return self.http.get(f"{self.kbs}/resource/{name}")


def test_an_old_client_gets_the_key_in_the_old_form(place: Place) -> None:
    place.allow(measurement())
    old = Old(place.kbs)
    assert old.auth().json()["extra-params"] == ""
    token = old.attest().json()["token"]
    assert list(claims(token)["submods"]) == ["cpu"]
    reply = old.resource().json()
    assert json.loads(reply["protected"]) == {"alg": "RSA1_5", "enc": "A256GCM"}
    assert reply["tag"] == ""
    assert old.key.decrypt(reply) == SECRET


def test_our_client_takes_the_old_protocol_only_where_the_new_one_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.allow(measurement())
    with KbsClient(place.url, SampleSource(measurement())) as client:
        assert client.fetch(RESOURCE) == SECRET
    monkeypatch.setattr("crag_core.trustee.kbs.CURRENT", LEGACY)
    with KbsClient(place.url, SampleSource(measurement())) as client:
        assert client.fetch(RESOURCE) == SECRET
    place.allow(measurement("another"))
    with (
        KbsClient(place.url, SampleSource(measurement())) as client,
        pytest.raises(PolicyDenied),
    ):
        client.fetch(RESOURCE)


def test_refusals_have_the_statuses_of_that_version(place: Place) -> None:
    place.allow(measurement())
    old = Old(place.kbs)
    old.auth()
    failed = old.attest(**{"tee-evidence": "{}"})
    assert (failed.status_code, kind(failed)) == (500, "AttestationError")
    old.auth()
    old.attest()
    denied, illegal = old.resource("default/crag/other"), old.resource("default/crag")
    assert (denied.status_code, kind(denied)) == (403, "PolicyDeny")
    assert (illegal.status_code, kind(illegal)) == (500, "PluginInternalError")


@pytest.mark.parametrize(
    "change",
    [
        {"tee-evidence": {"svn": "1"}},
        {"tee-evidence": "[]"},
        {"tee-pubkey": {"kty": "RSA", "alg": "RSA-OAEP-256", "n": "AQAB", "e": "AQAB"}},
        {"tee-pubkey": {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "", "y": ""}},
        {"tee-pubkey": None},
    ],
)
def test_what_is_not_of_that_version_is_refused(place: Place, change: dict[str, Any]) -> None:
    old = Old(place.kbs)
    old.auth()
    assert kind(old.attest(**change)) == "AttestationError"


def test_an_object_for_extra_params_is_refused_as_the_old_server_does(place: Place) -> None:
    reply = Old(place.kbs).auth(**{"extra-params": {"a": []}})
    assert "deserialize Request" in reply.json()["detail"]


def test_the_old_protocol_is_not_spoken_unless_it_was_asked_for(tmp_path: Path) -> None:
    strict = start(tmp_path / "strict")
    try:
        reply = Old(strict.kbs).auth()
        assert (reply.status_code, kind(reply)) == (401, "AttestationError")
        assert "Version Mismatch" in reply.json()["detail"]
    finally:
        strict.trustee.stop()


def test_a_weak_key_is_not_taken_by_the_new_protocol(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crag_core.trustee.kbs.CURRENT", Dialect("0.4.0", RSA_LEGACY))
    with (
        KbsClient(place.url, SampleSource(measurement())) as client,
        pytest.raises(AttestationRejected, match="RSA1_5 is a key of protocol"),
    ):
        client.fetch(RESOURCE)
