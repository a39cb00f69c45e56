from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc import jwe as other
from joserfc.jwk import ECKey, RSAKey

from crag_core.attestation import sample
from crag_core.attestation.canonical import report_data
from crag_core.attestation.evidence import SampleSource
from crag_core.attestation.measurement import Event, Measurement
from crag_core.errors import (
    AttestationRejected,
    BadInput,
    CragError,
    IntegrityViolated,
    NotSupported,
    PolicyDenied,
    Unreachable,
)
from crag_core.trustee import kbs
from crag_core.trustee.kbs import KbsClient, resource_path
from support import vectors
from support.scripted_http import Answer, Asked, ScriptedServer, as_json, problem

URI = "kbs:///default/crag/documents-key"
SECRET = b"9f-the-documents-secret-41"
NONCE = "w1xgnqcavCr0YC/f0ZwLM2+cEb9FSDJgHKpwb3AvFPw="
SOURCE = SampleSource(Measurement([Event("software", {"a": 1})]))


class Broker:
    """A key broker of protocol 0.4.0, written from the protocol's description."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.sessions = 0
        self.jwk: dict[str, str] = {}
        self.override: dict[str, Callable[[Asked], Answer | None]] = {}

    def __call__(self, asked: Asked) -> Answer:
        base = f"{self.prefix}/kbs/v0"
        if not asked.path.startswith(base):
            return Answer(404)
        step = asked.path.removeprefix(base).split("/")[1]
        changed = self.override.get(step, lambda _: None)(asked)
        return changed or getattr(self, step)(asked)

    def auth(self, asked: Asked) -> Answer:
        request = asked.json()
        if set(request) != {"version", "tee", "extra-params"} or request["version"] != "0.4.0":
            return problem("AttestationError", "Protocol Version Mismatch", 502)
        self.sessions += 1
        cookie = f"kbs-session-id=s{self.sessions}; Expires=Thu, 01 Jan 2099 00:00:00 GMT"
        return as_json({"nonce": NONCE, "extra-params": ""}, **{"set-cookie": cookie})

    def attest(self, asked: Asked) -> Answer:
        assert asked.headers["cookie"] == f"kbs-session-id=s{self.sessions}"
        body = asked.json()
        assert set(body) == {"init-data", "runtime-data", "tee-evidence"}
        assert body["runtime-data"]["nonce"] == NONCE
        self.jwk = body["runtime-data"]["tee-pubkey"]
        evidence = body["tee-evidence"]
        assert evidence["additional_evidence"] == ""
        bound = {"additional-evidence": "", "nonce": NONCE, "tee-pubkey": self.jwk}
        canonical = json.dumps(bound, sort_keys=True, separators=(",", ":")).encode()
        sample.verify(evidence["primary_evidence"], hashlib.sha384(canonical).digest())
        return as_json({"token": "x.y.z"})

    def resource(self, asked: Asked) -> Answer:
        if asked.headers.get("cookie") != f"kbs-session-id=s{self.sessions}":
            return problem("TokenNotFound", "Attestation Token not found", 401)
        names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
        algorithms = ["ECDH-ES+A256KW", "A256GCM"]
        header = dict(zip(("alg", "enc"), algorithms, strict=True))
        key = ECKey.import_key(self.jwk)
        parts = other.encrypt_compact(header, SECRET, key, algorithms=algorithms).split(".")
        return as_json(dict(zip(names, parts, strict=True)))


def _fetch(broker: Broker, path: str = "", source: Any = SOURCE) -> tuple[bytes, list[Asked]]:
    with ScriptedServer(broker) as server, KbsClient(server.url + path, source) as client:
        return client.fetch(URI), server.asked


@pytest.mark.parametrize(("prefix", "path"), [("", ""), ("/api", "/api"), ("/api", "")])
def test_a_resource_is_fetched_from_every_form_of_url(prefix: str, path: str) -> None:
    assert _fetch(Broker(prefix), path)[0] == SECRET


def test_a_server_without_elliptic_curves_gets_an_rsa_key() -> None:
    broker = Broker()

    def resource(asked: Asked) -> Answer:
        assert asked.headers["cookie"] == f"kbs-session-id=s{broker.sessions}"
        if broker.jwk["kty"] == "EC":
            return problem("JweError", "JWE failed", 400)
        assert broker.jwk["alg"] == "RSA-OAEP-256"
        names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
        algorithms = ["RSA-OAEP-256", "A256GCM"]
        header = dict(zip(("alg", "enc"), algorithms, strict=True))
        key = RSAKey.import_key(broker.jwk)
        parts = other.encrypt_compact(header, SECRET, key, algorithms=algorithms).split(".")
        return as_json(dict(zip(names, parts, strict=True)))

    broker.override["resource"] = resource
    with ScriptedServer(broker) as server, KbsClient(server.url, SOURCE) as client:
        assert [client.fetch(URI), client.fetch(URI)] == [SECRET, SECRET]
    assert broker.sessions == 2


def test_a_server_that_knows_no_key_of_ours_is_asked_twice_and_no_more() -> None:
    broker = Broker()
    broker.override["resource"] = lambda _: problem("JweError", "JWE failed", 400)
    with (
        ScriptedServer(broker) as server,
        KbsClient(server.url, SOURCE) as client,
        pytest.raises(NotSupported),
    ):
        client.fetch(URI)
    assert broker.sessions == 2


def test_the_handshake_is_three_requests() -> None:
    _, asked = _fetch(Broker("/api"), "/api")
    assert [(one.method, one.path) for one in asked] == [
        ("POST", "/api/kbs/v0/auth"),
        ("POST", "/api/kbs/v0/attest"),
        ("GET", "/api/kbs/v0/resource/default/crag/documents-key"),
    ]


def test_a_session_is_used_again_with_its_own_key() -> None:
    broker = Broker()
    with ScriptedServer(broker) as server, KbsClient(server.url, SOURCE) as client:
        assert [client.fetch(URI), client.fetch(URI)] == [SECRET, SECRET]
        assert len(server.asked) == 4
        client.close()
        assert client.fetch(URI) == SECRET
    assert broker.sessions == 2


def test_a_session_is_left_before_the_server_forgets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    monkeypatch.setattr(kbs, "SESSION_SECONDS", -1.0)
    with ScriptedServer(broker) as server, KbsClient(server.url, SOURCE) as client:
        client.fetch(URI)
        client.fetch(URI)
    assert broker.sessions == 2


def test_the_token_stands_in_for_a_session_that_is_forgotten() -> None:
    broker = Broker()

    def other_process(asked: Asked) -> Answer | None:
        """Knows no session, but the signer of the token."""
        if asked.headers.get("authorization") != "Bearer x.y.z":
            return problem("TokenNotFound", "Attestation Token not found", 401)
        asked.headers["cookie"] = f"kbs-session-id=s{broker.sessions}"
        return None

    broker.override["resource"] = other_process
    secret, asked = _fetch(broker)
    assert secret == SECRET
    assert [one.path.rsplit("/", 1)[-1] for one in asked].count("auth") == 1


@pytest.mark.parametrize(
    "token", [None, 7, "", "x.y", "a b.c.d", "x.y.z\r\nx-a: b", "x.y." + "z" * 20_000]
)
def test_what_is_no_token_is_put_into_no_header(token: Any) -> None:
    broker = Broker()
    broker.override["attest"] = lambda asked: (broker.attest(asked), as_json({"token": token}))[1]
    forgotten = [problem("TokenNotFound", "gone", 401)]
    broker.override["resource"] = lambda _: forgotten.pop() if forgotten else None
    secret, asked = _fetch(broker)
    assert secret == SECRET
    assert not any("authorization" in one.headers for one in asked)


@pytest.mark.parametrize("kind", ["TokenNotFound", "TokenVerifierError"])
def test_a_forgotten_session_is_renewed_once(kind: str) -> None:
    broker = Broker()
    forgotten = [problem(kind, "gone", 401)]
    broker.override["resource"] = lambda _: forgotten.pop() if forgotten else None
    assert _fetch(broker)[0] == SECRET
    assert broker.sessions == 2
    broker.override["resource"] = lambda _: problem(kind, "gone", 401)
    with pytest.raises(AttestationRejected):
        _fetch(broker)
    assert broker.sessions == 4


@pytest.mark.parametrize("status", [401, 403, 500, 502])
@pytest.mark.parametrize(
    ("kind", "expected", "code"),
    [
        ("PolicyDeny", PolicyDenied, "policy-denied"),
        ("PluginInternalError", CragError, "resource-missing"),
        ("PolicyEngine", CragError, "policy-broken"),
        ("PluginNotFound", CragError, "not-a-trustee"),
        ("JweError", NotSupported, "not-supported"),
        ("SomethingNew", CragError, "failed"),
    ],
)
def test_a_refused_resource_is_named_by_type_and_asked_for_once(
    status: int, kind: str, expected: type[CragError], code: str
) -> None:
    broker = Broker()
    broker.override["resource"] = lambda _: problem(kind, "Access denied by policy", status)
    with ScriptedServer(broker) as server, KbsClient(server.url, SOURCE) as client:
        with pytest.raises(expected) as caught:
            client.fetch(URI)
        # One session, and for an unknown algorithm a second one with the other kind of key.
        assert len(server.asked) == (6 if kind == "JweError" else 3)
    assert type(caught.value) is expected
    assert caught.value.code == code
    assert "default/crag/documents-key" in caught.value.message
    assert "Access denied by policy" in caught.value.message


@pytest.mark.parametrize("status", [401, 500, 502])
def test_refused_evidence_is_an_attestation_matter(status: int) -> None:
    broker = Broker()
    broker.override["attest"] = lambda _: problem("AttestationError", "Attest failed", status)
    with ScriptedServer(broker) as server, KbsClient(server.url, SOURCE) as client:
        with pytest.raises(AttestationRejected, match="Attest failed"):
            client.fetch(URI)
        assert len(server.asked) == 2


def test_a_refused_handshake_says_what_the_current_dialect_was_told() -> None:
    broker = Broker()
    broker.override["auth"] = lambda asked: problem(
        "AttestationError", f"refused {asked.json()['version']}", 502
    )
    with pytest.raises(AttestationRejected, match=r"refused 0\.4\.0"):
        _fetch(broker)


def test_what_is_no_trustee_is_said_so() -> None:
    with pytest.raises(CragError, match="404"):
        _fetch(Broker("/elsewhere"))
    broker = Broker()
    for challenge in (
        as_json({"nonce": "x" * 44}),
        as_json({}, **{"set-cookie": "kbs-session-id=a"}),
        as_json([], **{"set-cookie": "kbs-session-id=a"}),
        as_json({"nonce": "short"}, **{"set-cookie": "kbs-session-id=a"}),
        as_json({"nonce": "\ud800" * 20}, **{"set-cookie": "kbs-session-id=a"}),
        Answer(200, b"<html>"),
    ):
        broker.override["auth"] = lambda _, challenge=challenge: challenge  # type: ignore[misc]
        with pytest.raises(CragError) as caught:
            _fetch(broker)
        assert caught.value.code == "not-a-trustee"


def test_a_resource_for_another_key_is_refused() -> None:
    broker = Broker()
    original = broker.resource

    def for_another(asked: Asked) -> Answer:
        key = ECKey.generate_key("P-256").as_dict(private=False)
        broker.jwk = {name: str(key[name]) for name in ("kty", "crv", "x", "y")}
        return original(asked)

    broker.override["resource"] = for_another
    with pytest.raises(IntegrityViolated):
        _fetch(broker)


def test_no_trustee_at_all_is_unreachable() -> None:
    with ScriptedServer(Broker()) as server:
        url = server.url
    with KbsClient(url, SOURCE) as client, pytest.raises(Unreachable, match=url):
        client.fetch(URI)


def test_evidence_of_further_devices_travels_and_is_bound() -> None:
    class Source(SampleSource):
        def additional(self, report_data: bytes) -> dict[str, Any] | None:
            return {"nvidia": {"bound": report_data.hex()}}

    seen: list[dict[str, Any]] = []
    broker = Broker()

    def attest(asked: Asked) -> Answer:
        body = asked.json()
        seen.append(body)
        broker.jwk = body["runtime-data"]["tee-pubkey"]
        return as_json({"token": "x"})

    broker.override["attest"] = attest
    source = Source(SOURCE.measurement)
    assert _fetch(broker, source=source)[0] == SECRET
    runtime, evidence = seen[0]["runtime-data"], seen[0]["tee-evidence"]
    further = json.loads(evidence["additional_evidence"])
    assert further["nvidia"]["bound"] == report_data(runtime).hex()
    bound = runtime | {"additional-evidence": evidence["additional_evidence"]}
    sample.verify(evidence["primary_evidence"], report_data(bound))


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        (URI, "default/crag/documents-key"),
        ("kbs://host:80/a/b/c", "a/b/c"),
        ("a/b/c.d", "a/b/c.d"),
    ],
)
def test_resource_names_are_read(uri: str, path: str) -> None:
    assert resource_path(uri) == path


@pytest.mark.parametrize(
    "uri", ["", "a/b", "a/b/c/d", "a/../c", "a/.b/c", "kbs:///a/b/c?x", "a/b/ü", "/a/b/c", "a//c"]
)
def test_other_names_are_bad_input(uri: str) -> None:
    with pytest.raises(BadInput):
        resource_path(uri)


# recorded handshakes


class Recorded:
    """Answers with what was recorded, and holds our requests against the recorded ones."""

    def __init__(self, steps: list[list[Any]], resource: dict[str, str]) -> None:
        self.steps = {name: [] for name, *_ in steps}  # type: ignore[var-annotated]
        for name, body, status, answer, cookie in steps:
            self.steps[name].append((body, status, answer, cookie))
        self.resource = resource
        self.checked: list[str] = []

    def __call__(self, asked: Asked) -> Answer:
        name = asked.path.removeprefix("/kbs/v0/").split("/")[0]
        if name == "resource":
            return as_json(self.resource)
        ours = asked.json()
        for body, status, answer, cookie in self.steps[name]:
            if body.get("version") == ours.get("version"):
                assert _shape(ours) == _shape(body)
                self.checked.append(name)
                return Answer(status, answer.encode(), {"set-cookie": cookie} if cookie else {})
        # Version 1.5.2 never gets as far as the version with the recorded parameters.
        return problem("AttestationError", "RCAR handshake Auth failed: Version Mismatch")


def _shape(value: Any) -> Any:
    """Members and kinds of an object; evidence and parameters may hold other members."""
    if isinstance(value, dict):
        free = {"extra-params", "primary_evidence"}
        return {name: name if name in free else _shape(item) for name, item in value.items()}
    return type(value).__name__


@vectors.needed
@pytest.mark.parametrize(
    ("version", "expected"),
    [("v1.9.0", ["auth", "attest"]), ("v1.5.2", ["auth", "auth", "attest"])],
)
def test_our_side_of_a_recorded_handshake_has_the_recorded_form(
    version: str, expected: list[str]
) -> None:
    recorded = json.loads(vectors.data("kbs/rcar_transcript.json"))[version]
    script = Recorded(recorded["auth"], recorded["resource"])
    # The recorded resource was encrypted to another key, so the last step must fail.
    with (
        ScriptedServer(script) as server,
        KbsClient(server.url, SOURCE) as client,
        pytest.raises(IntegrityViolated),
    ):
        client.fetch(URI)
    assert script.checked == expected


@vectors.needed
def test_recorded_evidence_is_bound_by_the_hash_that_we_compute() -> None:
    recorded = json.loads(vectors.data("kbs/rcar_transcript.json"))
    _, body, *_ = recorded["v1.9.0"]["auth"][1]
    bound = body["runtime-data"] | {"additional-evidence": ""}
    said = body["tee-evidence"]["primary_evidence"]["report_data"]
    assert base64.b64decode(said) == report_data(bound)
    challenge, attest = recorded["v1.5.2"]["auth"][1:]
    nonce = json.loads(challenge[3])["nonce"]
    said = json.loads(attest[1]["tee-evidence"])["report_data"]
    assert base64.b64decode(said) == report_data(
        {"nonce": nonce, "tee-pubkey": attest[1]["tee-pubkey"]}
    )


def test_a_legacy_trustee_gets_a_legacy_handshake() -> None:
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from crag_core.trustee.jwe import b64url

    kept: dict[str, Any] = {}

    def script(asked: Asked) -> Answer:
        step = asked.path.removeprefix("/kbs/v0/").split("/")[0]
        if step == "auth":
            if asked.json() != {"version": "0.1.0", "tee": "sample", "extra-params": ""}:
                return problem("AttestationError", "RCAR handshake Auth failed")
            return as_json(
                {"nonce": NONCE, "extra-params": ""}, **{"set-cookie": "kbs-session-id=a"}
            )
        if step == "attest":
            kept.update(asked.json())
            assert set(kept) == {"tee-pubkey", "tee-evidence"}
            assert (kept["tee-pubkey"]["alg"], kept["tee-pubkey"]["kty"]) == ("RSA1_5", "RSA")
            bound = report_data({"nonce": NONCE, "tee-pubkey": kept["tee-pubkey"]})
            sample.verify(json.loads(kept["tee-evidence"]), bound)
            return as_json({"token": "x"})
        numbers = [
            int.from_bytes(base64.urlsafe_b64decode(kept["tee-pubkey"][name] + "=="), "big")
            for name in "en"
        ]
        wrapped = rsa.RSAPublicNumbers(*numbers).public_key().encrypt(b"k" * 32, padding.PKCS1v15())
        return as_json(
            {
                "protected": '{"alg":"RSA1_5","enc":"A256GCM"}',
                "encrypted_key": b64url(wrapped),
                "iv": b64url(b"n" * 12),
                "ciphertext": b64url(AESGCM(b"k" * 32).encrypt(b"n" * 12, SECRET, None)),
                "tag": "",
            }
        )

    with ScriptedServer(script) as server, KbsClient(server.url, SOURCE) as client:
        assert client.fetch(URI) == SECRET


def test_the_key_never_shows_in_an_error() -> None:
    broker = Broker()
    broker.override["resource"] = lambda _: Answer(200, b'{"protected":"' + SECRET + b'"}')
    with pytest.raises(CragError) as caught:
        _fetch(broker)
    assert SECRET.decode() not in json.dumps(caught.value.as_json())
