"""Sessions, challenges and the RCAR requests: one use, five minutes, nothing ambiguous."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.attestation.canonical import report_data
from crag_core.trustee.local import dialect, jws
from crag_core.trustee.local.challenges import Challenges
from crag_core.trustee.local.codec import Malformed
from crag_core.trustee.local.sessions import Sessions, TooMany

KEY = {"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "eA", "y": "eQ"}


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_session_ends_after_its_time_attested_or_not() -> None:
    clock = Clock()
    sessions = Sessions(clock=clock)
    waiting, attested = (
        sessions.open(dialect.Opening("sample")),
        sessions.open(dialect.Opening("sample")),
    )
    assert sessions.spend(attested.id) is attested
    sessions.attested(attested, {"a": 1})
    clock.now += 299
    assert sessions.claims(attested.id) == {"a": 1}
    clock.now += 1
    assert sessions.claims(attested.id) is None
    assert sessions.spend(waiting.id) is None


def test_a_nonce_is_spent_by_exactly_one_of_many_at_once() -> None:
    sessions = Sessions()
    session = sessions.open(dialect.Opening("sample"))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: sessions.spend(session.id), range(64)))
    assert sum(one is not None for one in found) == 1


def test_sessions_are_bounded_and_expired_ones_make_room() -> None:
    clock = Clock()
    sessions = Sessions(limit=2, clock=clock)
    sessions.open(dialect.Opening("sample")), sessions.open(dialect.Opening("sample"))
    with pytest.raises(TooMany):
        sessions.open(dialect.Opening("sample"))
    clock.now += 301
    sessions.open(dialect.Opening("sample"))


def test_nonces_and_ids_are_never_the_same() -> None:
    sessions = Sessions()
    made = [sessions.open(dialect.Opening("sample")) for _ in range(200)]
    assert len({s.nonce for s in made}) == len({s.id for s in made}) == 200


def test_a_session_that_has_not_attested_has_no_claims() -> None:
    sessions = Sessions()
    session = sessions.open(dialect.Opening("sample"))
    assert sessions.claims(session.id) is None
    sessions.spend(session.id)
    assert sessions.claims(session.id) is None


def test_a_challenge_is_used_by_exactly_one_of_many_at_once() -> None:
    challenges = Challenges()
    extra = challenges.issue()["extra-params"]
    assert isinstance(extra, dict)

    def use(_n: int) -> bool:
        try:
            challenges.use(extra["jwt"])
        except jws.BadToken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(use, range(32))) == 1


def attest(**changes: Any) -> bytes:
    body = {
        "init-data": None,
        "runtime-data": {"nonce": "n", "tee-pubkey": KEY},
        "tee-evidence": {"primary_evidence": {"a": 1}, "additional_evidence": ""},
        **changes,
    }
    return json.dumps(body).encode()


def test_the_expected_report_data_is_computed_from_what_the_server_knows() -> None:
    found = dialect.read_attestation(attest(), tee="sample", nonce="n")
    bound = {"additional-evidence": "", "nonce": "n", "tee-pubkey": KEY}
    assert found.items[0].expected == report_data(bound)
    assert found.runtime_data == bound


def test_members_that_a_key_does_not_have_are_not_hashed() -> None:
    more = {"nonce": "n", "tee-pubkey": {**KEY, "kid": "x", "d": "y"}}
    found = dialect.read_attestation(attest(**{"runtime-data": more}), tee="sample", nonce="n")
    assert found.tee_pubkey == KEY


def test_additional_evidence_has_a_binding_of_its_own() -> None:
    extra = '{"nvidia":{"g":1}}'
    evidence = {"primary_evidence": {}, "additional_evidence": extra}
    found = dialect.read_attestation(attest(**{"tee-evidence": evidence}), tee="tdx", nonce="n")
    bound = {"nonce": "n", "tee-pubkey": KEY}
    assert [item.tee for item in found.items] == ["tdx", "nvidia"]
    assert found.items[1].expected == report_data(bound)
    assert found.items[0].expected == report_data({**bound, "additional-evidence": extra})


@pytest.mark.parametrize(
    "changes",
    [
        {"runtime-data": None},
        {"runtime-data": {"nonce": "m", "tee-pubkey": KEY}},
        {"runtime-data": {"nonce": None, "tee-pubkey": KEY}},
        {"runtime-data": {"nonce": "n"}},
        {"runtime-data": {"nonce": "n", "tee-pubkey": {**KEY, "kty": "oct"}}},
        {"runtime-data": {"nonce": "n", "tee-pubkey": {**KEY, "x": 7}}},
        {"runtime-data": {"nonce": "n", "tee-pubkey": {"kty": ["EC"]}}},
        {"init-data": {"format": "toml", "body": ""}},
        {"init-data": ""},
        {"tee-evidence": "{}"},
        {"tee-evidence": {"primary_evidence": "x"}},
        {"tee-evidence": {"primary_evidence": {}, "additional_evidence": {}}},
        {"tee-evidence": {"primary_evidence": {}, "additional_evidence": "[]"}},
        {"tee-evidence": {"primary_evidence": {}, "additional_evidence": '{"a":1}'}},
        {"tee-evidence": {"primary_evidence": {}, "additional_evidence": '{"../":{}}'}},
    ],
)
def test_malformed_attestations_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        dialect.read_attestation(attest(**changes), tee="sample", nonce="n")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120))
def test_bytes_are_a_request_or_malformed(body: bytes) -> None:
    for read in (
        dialect.read_opening,
        lambda data: dialect.read_attestation(data, tee="sample", nonce="n"),
    ):
        with pytest.raises(Malformed):
            read(body)


@pytest.mark.parametrize("version", ["0.1.0", "0.4.1", "0.4", "", "0.4.0 ", None, 4])
def test_another_version_is_refused(version: object) -> None:
    body = json.dumps({"version": version, "tee": "sample", "extra-params": ""}).encode()
    with pytest.raises(Malformed):
        dialect.read_opening(body)


def test_extra_params_may_be_a_string_or_an_object() -> None:
    for extra in ("", {"supported-hash-algorithms": ["sha384"]}):
        body = json.dumps({"version": "0.4.0", "tee": "tdx", "extra-params": extra}).encode()
        assert dialect.read_opening(body).tee == "tdx"
