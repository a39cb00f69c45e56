"""Attacks on the administration: no key, wrong algorithms, names that leave the folder."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.trustee.local import jws
from crag_core.trustee.local.identity import load_admin_key
from support.trustee import SECRET, Place, b64url, kind, start

ALLOW_ALL = "package policy\nimport rego.v1\ndefault allow := false\nallow if input.submods"
POLICY = json.dumps({"policy": b64url(ALLOW_ALL.encode())}).encode()
ATTESTATION = json.dumps(
    {"policy_id": "default", "policy": b64url(b"package policy\nhardware := 2")}
).encode()
MESSAGE = json.dumps({"message": "{}"}).encode()

GUARDED = [
    ("POST", "kbs/v0/resource/default/crag/x", SECRET),
    ("DELETE", "kbs/v0/resource/default/crag/x", b""),
    ("GET", "kbs/v0/resources", b""),
    ("GET", "kbs/v0/resource-policy", b""),
    ("POST", "kbs/v0/resource-policy", POLICY),
    ("GET", "kbs/v0/resource-policies", b""),
    ("GET", "kbs/v0/resource-policy/default", b""),
    ("POST", "kbs/v0/resource-policy/default/crag/x", POLICY),
    ("DELETE", "kbs/v0/resource-policy/default", b""),
    ("GET", "kbs/v0/rvps/expiries", b""),
    ("GET", "audit/resources", b""),
    ("POST", "kbs/v0/attestation-policy", ATTESTATION),
    ("GET", "kbs/v0/attestation-policy/default", b""),
    ("DELETE", "kbs/v0/attestation-policy/default", b""),
    ("GET", "kbs/v0/attestation-policies", b""),
    ("GET", "kbs/v0/rvps/query", b""),
    ("POST", "kbs/v0/rvps/register", MESSAGE),
    ("DELETE", "kbs/v0/rvps/delete/crag.software", b""),
    ("POST", "kbs/v0/rvps/set_reference_value_list", b"{}"),
    ("POST", "attestation-service/policy", ATTESTATION),
    ("GET", "attestation-service/policy", b""),
    ("GET", "attestation-service/policies", b""),
    ("GET", "attestation-service/policy/default", b""),
    ("DELETE", "attestation-service/policy/default", b""),
    ("POST", "as/policy", ATTESTATION),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = start(tmp_path_factory.mktemp("home") / "trustee")
    yield made
    made.trustee.stop()


def key(place: Place) -> Ed25519PrivateKey:
    return load_admin_key((place.folder / "admin.key").read_bytes(), "test")


def send(place: Place, method: str, path: str, body: bytes, **headers: str) -> httpx.Response:
    url = f"{place.url}/{path}"
    return httpx.request(method, url, content=body, headers=headers, trust_env=False)


def hs256(claims: dict[str, Any], secret: bytes) -> str:
    """A token signed with the admin's public key as an HMAC secret: the algorithm confusion."""
    head = b64url(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    signed = f"{head}.{b64url(json.dumps(claims).encode())}"
    return f"{signed}.{b64url(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


@pytest.mark.parametrize(("method", "path", "body"), GUARDED)
def test_policy_or_reference_value_changed_by_an_unauthenticated_call(
    place: Place, method: str, path: str, body: bytes
) -> None:
    before = (place.folder / "admin.pub").stat().st_mtime_ns, sorted(place.folder.rglob("*"))
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}):
        reply = send(place, method, path, body, **headers)
        assert (reply.status_code, kind(reply)) == (401, "AdminAuth")
    now = int(time.time())
    token = jws.sign({}, {"iat": now, "exp": now + 60}, key(place))
    if method == "GET":  # the control; what changes something has its own in the next test
        reply = send(place, method, path, body, Authorization=f"Bearer {token}")
        assert "AdminAuth" not in reply.text
    after = (place.folder / "admin.pub").stat().st_mtime_ns, sorted(place.folder.rglob("*"))
    assert before == after


def test_policy_and_reference_value_are_changed_by_an_authenticated_call(tmp_path: Path) -> None:
    """The control: the same calls with the admin's token do what they say."""
    made = start(tmp_path / "trustee")
    try:
        now = int(time.time())
        token = jws.sign({}, {"iat": now, "exp": now + 60}, key(made))

        def done(method: str, path: str, body: bytes = b"") -> str:
            reply = send(made, method, path, body, Authorization=f"Bearer {token}")
            assert reply.status_code == 200, reply.text
            return reply.text

        refusing = b64url(b"package policy\ndefault allow = false")
        done("POST", "kbs/v0/resource-policy", json.dumps({"policy": refusing}).encode())
        done("POST", "kbs/v0/attestation-policy", ATTESTATION)
        own = {**json.loads(ATTESTATION), "policy_id": "own"}
        done("POST", "kbs/v0/attestation-policy", json.dumps(own).encode())
        done("DELETE", "kbs/v0/attestation-policy/own")
        with made.admin() as admin:
            admin.set_reference_values({"crag.software": ["a" * 64]})
        assert "a" * 64 in done("GET", "kbs/v0/rvps/query")
        done("DELETE", "kbs/v0/rvps/delete/crag.software")
    finally:
        made.trustee.stop()


def test_only_eddsa_by_the_admins_own_key_is_accepted(place: Place) -> None:
    now = int(time.time())
    good = {"iat": now, "exp": now + 60}
    mine, pem = key(place), (place.folder / "admin.pub").read_bytes()
    body = b64url(json.dumps(good).encode())
    none = b64url(json.dumps({"alg": "none"}).encode())
    eddsa = jws.sign({}, good, mine)
    crit = jws.sign({"crit": ["exp"]}, good, mine)
    bad = [
        f"{none}.{body}.",
        f"{none}.{body}.{eddsa.split('.')[2]}",
        hs256(good, pem),
        hs256(good, pem.strip()),
        jws.sign({}, good, Ed25519PrivateKey.generate()),
        jws.sign({}, good, ec.generate_private_key(ec.SECP256R1())),
        crit,
        f"{eddsa}=",
        f"{eddsa}.",
        eddsa.rsplit(".", 1)[0] + ".",
        eddsa + "A" * 9000,
    ]
    for token in bad:
        reply = send(place, "GET", "kbs/v0/resources", b"", Authorization=f"Bearer {token}")
        assert (reply.status_code, kind(reply)) == (401, "AdminAuth"), token
    reply = send(place, "GET", "kbs/v0/resources", b"", Authorization=f"Bearer {eddsa}")
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"exp": None},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": 1},
        {"exp": 99_999_999_999},
        {"exp": 0, "iat": 0},
        {"nbf": 99_999_999_999},
        {"iat": 99_999_999_999},
    ],
)
def test_a_token_out_of_its_time_is_refused(place: Place, claims: dict[str, Any]) -> None:
    found = {"exp": int(time.time()) + 60, **claims} if claims else {"iat": int(time.time())}
    token = jws.sign({}, found, key(place))
    reply = send(place, "GET", "kbs/v0/resources", b"", Authorization=f"Bearer {token}")
    assert (reply.status_code, kind(reply)) == (401, "AdminAuth")


@pytest.mark.parametrize(
    "name",
    [
        "default/crag",
        "default/crag/x/y",
        "default/crag/..",
        "default/../../admin.key",
        "%2e%2e/%2e%2e/admin.key",
        "default/crag/..%2f..%2f..%2fadmin.key",
        "default/crag/%2e%2e%2fadmin.key",
        "default/crag/.hidden",
        "default/crag/x%00",
        "default/crag/x%0a",
        "default/crag/x%5cy",
        "default//x",
        "default/crag/",
        "default/crag/%E6%B1%89",
        "default/crag/" + "x" * 200,
        "/default/crag/x",
        "kbs:///default/crag/x",
    ],
)
def test_a_resource_cannot_be_written_outside_its_folder(place: Place, name: str) -> None:
    now = int(time.time())
    token = jws.sign({}, {"iat": now, "exp": now + 60}, key(place))
    files = {p: p.read_bytes() for p in place.folder.rglob("*") if p.is_file()}
    for method in ("POST", "DELETE"):
        request = httpx.Request(
            method,
            f"{place.url}/kbs/v0/resource/x",
            content=SECRET,
            headers={"Authorization": f"Bearer {token}"},
        )
        request.url = request.url.copy_with(raw_path=f"/api/kbs/v0/resource/{name}".encode())
        with httpx.Client(trust_env=False) as client:
            assert client.send(request).status_code in (400, 404)
    assert {p: p.read_bytes() for p in place.folder.rglob("*") if p.is_file()} == files


def test_a_policy_id_cannot_leave_its_folder(place: Place) -> None:
    with place.admin() as admin:
        for name in ("../x", "a/b", "", ".", ".hidden", "x\n", "x" * 65):
            reply = admin._http.request(
                "POST",
                "/kbs/v0/attestation-policy",
                json_body={"policy_id": name, "policy": b64url(b"package policy\nhardware := 2")},
                headers=admin._token.headers(),
            )
            assert reply.status == 400
    assert not (place.folder / "attestation-policies").exists()
    assert not (place.folder / "x.rego").exists()


def test_a_policy_that_gives_everything_away_is_not_taken(place: Place) -> None:
    with place.admin() as admin:
        before = admin.get_resource_policy()
        for rego in (
            "package policy\nallow = true",
            "package policy\ndefault allow = true",
            "package policy\nallow = true { not input.nothing }",
            "package other\ndefault allow = false",
            "package policy\nallow := ",
            'package policy\nallow := "yes"',
            "",
        ):
            reply = admin._http.request(
                "POST",
                "/kbs/v0/resource-policy",
                json_body={"policy": b64url(rego.encode())},
                headers=admin._token.headers(),
            )
            assert (reply.status, reply.json()["type"].rsplit("/")[-1]) == (
                400,
                "PolicyEngine",
            )
        assert admin.get_resource_policy() == before


def test_web_pages_and_rebound_names_are_not_served(place: Place) -> None:
    for headers in ({"Host": "attacker.example"}, {"Host": "127.0.0.1.attacker.example:80"}):
        assert send(place, "GET", "health", b"", **headers).status_code == 421
    assert send(place, "GET", "health", b"", Origin="http://x.example").status_code == 403
    assert send(place, "GET", "health", b"").status_code == 200
