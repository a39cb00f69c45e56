from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from crag_core.errors import AttestationRejected, BadInput, CragError, NotSupported, Unreachable
from crag_core.trustee.admin_token import AdminToken
from crag_core.trustee.as_client import AsClient, Challenge
from support.ear_tokens import Authority
from support.scripted_http import Answer, Asked, ScriptedServer, as_json, problem

EVIDENCE = {"svn": "1", "name": "é"}
RUNTIME = {"nonce": "n"}


def _attest(script: Any) -> tuple[str, list[Asked]]:
    with ScriptedServer(script) as server, AsClient(server.url) as client:
        return client.attest("sample", EVIDENCE, RUNTIME, ["default"]), server.asked


def test_evidence_goes_out_in_the_form_that_trustee_reads() -> None:
    token, (asked,) = _attest(lambda _: Answer(200, b"a.b.c\n"))
    assert token == "a.b.c"
    assert asked.path == "/api/attestation-service/attestation"
    body = asked.json()
    (entry,) = body["verification_requests"]
    encoded = entry.pop("evidence")
    assert "=" not in encoded
    assert json.loads(base64.urlsafe_b64decode(encoded + "==")) == EVIDENCE
    assert entry == {
        "tee": "sample",
        "runtime_data": {"structured": RUNTIME},
        "init_data": None,
        "runtime_data_hash_algorithm": "sha384",
    }
    assert body["policy_ids"] == ["default"]


def test_an_older_service_gets_its_flat_form() -> None:
    def script(asked: Asked) -> Answer:
        if "verification_requests" in asked.json():
            return Answer(400, b"Json deserialize error: missing field `tee` at line 1")
        return Answer(200, b"a.b.c")

    token, asked = _attest(script)
    assert token == "a.b.c"
    assert set(asked[1].json()) == {
        *("tee", "evidence", "runtime_data", "runtime_data_hash_algorithm", "policy_ids"),
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (problem("x", "no", 422, code="AS.EVIDENCE.BINDING_MISMATCH"), AttestationRejected),
        (problem("x", "no", 401, code="AS.CHALLENGE.INVALID_TOKEN"), AttestationRejected),
        (problem("x", "no", 400, code="AS.REQUEST.UNSUPPORTED_TEE"), NotSupported),
        (problem("x", "no", 400, code="AS.REQUEST.INVALID_JSON"), CragError),
        (Answer(500, b"Error { context: REPORT_DATA }"), AttestationRejected),
        (Answer(404), CragError),
        (Answer(200, b'"a.b"'), CragError),
        (Answer(200, b""), CragError),
    ],
)
def test_a_refusal_is_told_apart_and_asked_for_once(
    answer: Answer, expected: type[CragError]
) -> None:
    count = 0

    def script(_: Asked) -> Answer:
        nonlocal count
        count += 1
        return answer

    with pytest.raises(expected) as caught:
        _attest(script)
    assert type(caught.value) is expected
    assert count == 1


def test_a_dependency_that_is_down_makes_the_service_unreachable() -> None:
    down = problem("x", "no", 503, code="AS.DEPENDENCY.UNAVAILABLE", retryable=True)
    with pytest.raises(Unreachable):
        _attest(lambda _: down)


@pytest.mark.parametrize("member", ["extra-params", "extra_params"])
def test_a_challenge_is_read_in_both_spellings(member: str) -> None:
    script = lambda _: as_json({"nonce": "n", member: {"jwt": "j"}})  # noqa: E731
    with ScriptedServer(script) as server, AsClient(f"{server.url}/api") as client:
        assert client.challenge() == Challenge("n", "j")
        assert server.asked[0].path == "/api/attestation-service/challenge"


@pytest.mark.parametrize("body", [{}, [], {"nonce": "n"}, {"nonce": "n", "extra-params": ""}])
def test_a_service_without_challenges_is_said_so(body: Any) -> None:
    with (
        ScriptedServer(lambda _: as_json(body)) as server,
        AsClient(server.url) as client,
        pytest.raises(CragError, match="challenge"),
    ):
        client.challenge()


def test_the_offered_certificate_is_returned_as_it_is() -> None:
    pem = Authority().pem
    with (
        ScriptedServer(lambda _: Answer(200, pem)) as server,
        AsClient(f"{server.url}/api/attestation-service/") as client,
    ):
        assert client.certificate() == pem
        assert server.asked[0].path == "/api/attestation-service/certificate"


@pytest.mark.parametrize("answer", [Answer(404), Answer(200, b""), Answer(200, b"<html>")])
def test_no_certificate_is_said_so(answer: Answer) -> None:
    with (
        ScriptedServer(lambda _: answer) as server,
        AsClient(server.url) as client,
        pytest.raises(CragError, match="certificate"),
    ):
        client.certificate()


def test_policies_are_read_as_the_forks_show_them() -> None:
    shown = base64.urlsafe_b64encode(b"package policy\n").rstrip(b"=")

    def script(asked: Asked) -> Answer:
        assert "authorization" not in asked.headers
        if asked.path.endswith("/policy"):
            return as_json([{"policy-id": "default", "policy-hash": "h"}])
        return Answer(200, shown)

    with ScriptedServer(script) as server, AsClient(server.url) as client:
        assert client.policies() == {"default": "h"}
        assert client.policy("a/b") == "package policy\n"
        assert server.asked[1].path.endswith("/policy/a%2Fb")
        client.delete_policy("bank")
        assert (server.asked[2].method, server.asked[2].path[-12:]) == ("DELETE", "/policy/bank")


@pytest.mark.parametrize("body", [{}, [1], [{"policy-id": "x"}], None])
def test_a_list_of_policies_that_is_none_is_said_so(body: Any) -> None:
    with (
        ScriptedServer(lambda _: as_json(body)) as server,
        AsClient(server.url) as client,
        pytest.raises(CragError, match="don't know"),
    ):
        client.policies()


def test_no_admins_token_goes_over_plain_http_to_another_machine() -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    with pytest.raises(BadInput):
        AsClient("http://192.0.2.1/api", admin=AdminToken(pem))
