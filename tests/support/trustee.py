"""A local Trustee for a test: started in a thread, with an admin, a workload and raw requests."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec

from crag_core.attestation import sample
from crag_core.attestation.canonical import report_data
from crag_core.attestation.measurement import Event, Measurement
from crag_core.trustee import release_policy
from crag_core.trustee.admin import AdminClient
from crag_core.trustee.local.serve import Settings, Trustee

SECRET = b"\x00\x01 the key that only the right workload gets \xff"
RESOURCE = "default/crag/documents-key"


def measurement(software: str = "one") -> Measurement:
    """A workload's measurement; another ``software``, another workload."""
    return Measurement(
        [
            Event("software", {"format": "test", "name": software}),
            Event("model", {"format": "test", "files": []}),
            Event("configuration", {"format": "test", "settings": {"k": 5}}),
        ]
    )


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass
class Place:
    """A running Trustee, its folder and its admin."""

    trustee: Trustee
    folder: Path

    @property
    def url(self) -> str:
        return self.trustee.url

    @property
    def kbs(self) -> str:
        return f"{self.url}/kbs/v0"

    @property
    def service(self) -> str:
        return f"{self.url}/attestation-service"

    def admin(self) -> AdminClient:
        return AdminClient(self.url, (self.folder / "admin.key").read_bytes())

    def allow(self, workload: Measurement, *resources: str) -> None:
        """Put :data:`SECRET` there and release it to ``workload``."""
        with self.admin() as admin:
            for name in resources or (RESOURCE,):
                admin.set_resource(name, SECRET)
            admin.set_reference_values(workload.reference_values())
            admin.set_resource_policy(release_policy.write(resources or (RESOURCE,)))

    def audit(self) -> list[dict[str, Any]]:
        path = self.folder / "audit.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def start(folder: Path, *, accept_sample: bool = True, **settings: Any) -> Place:
    """A running Trustee; stop it with ``place.trustee.stop()``."""
    made = Trustee(Settings(folder, accept_sample=accept_sample, **settings))
    return Place(made.start(), folder)


class Handshake:
    """An RCAR handshake by hand, so that a test can get each step wrong."""

    def __init__(self, kbs: str) -> None:
        self.http = httpx.Client(trust_env=False, timeout=10)
        self.kbs = kbs
        self.nonce = ""
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        self.jwk = {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ECDH-ES+A256KW",
            "x": b64url(numbers.x.to_bytes(32, "big")),
            "y": b64url(numbers.y.to_bytes(32, "big")),
        }

    def auth(self, tee: str = "sample", version: str = "0.4.0") -> httpx.Response:
        body = {"version": version, "tee": tee, "extra-params": ""}
        answer = self.http.post(f"{self.kbs}/auth", json=body)
        if answer.status_code == 200:
            self.nonce = answer.json()["nonce"]
        return answer

    def bound(self, jwk: dict[str, str] | None = None) -> bytes:
        """The report data that binds this session's nonce and a key."""
        return report_data(
            {"nonce": self.nonce, "tee-pubkey": jwk or self.jwk, "additional-evidence": ""}
        )

    def body(self, evidence: dict[str, Any], **changes: Any) -> dict[str, Any]:
        return {
            "init-data": None,
            "runtime-data": {"nonce": self.nonce, "tee-pubkey": self.jwk},
            "tee-evidence": {"primary_evidence": evidence, "additional_evidence": ""},
            **changes,
        }

    def attest(self, workload: Measurement, **changes: Any) -> httpx.Response:
        evidence = sample.build(workload, self.bound())
        return self.http.post(f"{self.kbs}/attest", json=self.body(evidence, **changes))

    def resource(self, name: str = RESOURCE, **headers: str) -> httpx.Response:
        return self.http.get(f"{self.kbs}/resource/{name}", headers=headers)

    def open(self, reply: httpx.Response) -> bytes:
        """Decrypt a resource with joserfc: an implementation that is not ours."""
        from joserfc import jwe
        from joserfc.jwk import ECKey

        numbers = self.key.private_numbers()
        key = ECKey.import_key({**self.jwk, "d": b64url(numbers.private_value.to_bytes(32, "big"))})
        found = jwe.decrypt_json(reply.json(), key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
        assert found.plaintext is not None
        return found.plaintext


def kind(reply: httpx.Response) -> str:
    """The last part of a refusal's ``type``."""
    return str(reply.json()["type"]).rsplit("/", 1)[-1]


def entry(workload: Measurement, runtime: dict[str, Any] | None, **changes: Any) -> dict[str, Any]:
    """One verification request about sample evidence bound to ``runtime``."""
    evidence = sample.build(workload, report_data(runtime or {"nothing": ""}))
    return {
        "tee": "sample",
        "evidence": b64url(json.dumps(evidence).encode()),
        "runtime_data": None if runtime is None else {"structured": runtime},
        "init_data": None,
        "runtime_data_hash_algorithm": "sha384",
        **changes,
    }


def ask(place: Place, *entries: dict[str, Any], policies: Any = ("default",)) -> httpx.Response:
    """POST /attestation."""
    body = {"verification_requests": list(entries), "policy_ids": list(policies)}
    return httpx.post(f"{place.service}/attestation", json=body, trust_env=False)


def claims(token: str) -> dict[str, Any]:
    """The claims of a token, unverified."""
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
