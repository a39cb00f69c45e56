"""Probes with evidence and claims: what does software get, and what does a stranger's TD?"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from crag_core.attestation.canonical import canonical_json, report_data
from crag_core.errors import CragError
from crag_core.trustee.check.findings import Finding, found
from crag_core.trustee.check.forged import Sample
from crag_core.trustee.check.target import Target
from crag_core.trustee.http import Reply, problem
from crag_core.trustee.jwe import TeeKey, b64url
from crag_core.trustee.kbs import session_of
from crag_core.trustee.local.rego import PolicyError, evaluate
from crag_core.trustee.rcar import CURRENT, LEGACY, Dialect

_ANNOTATED = "ear.veraison.annotated-evidence"
_RULES = ("executables", "hardware", "configuration", "file_system")


def probe_sample(target: Target) -> list[Finding]:
    """What software-made evidence of nothing gets, from key broker and attestation service."""
    return [*_at_key_broker(target), *_at_attestation_service(target)]


def _at_key_broker(target: Target) -> list[Finding]:
    dialect = CURRENT if "0.4.0" in target.server.rcar else LEGACY
    opened = target.post("kbs/v0/auth", dialect.auth_request("sample"))
    if opened.status != 200:
        return []
    nonce, cookie = session_of(opened)
    reply = _attest(target, dialect, nonce, cookie)
    body = _json(reply)
    token = body.get("token") if isinstance(body, dict) else None
    if reply.status != 200 or not isinstance(token, str):
        return []
    made = [_judged(_claims(token), "The key broker")]
    path = "kbs/v0/resource/default/crag-check/nothing"
    kind = problem(target.get(path, {"cookie": cookie})).kind
    if kind in ("PluginInternalError", "JweError"):
        seen = "With software-made evidence the resource policy let a resource through."
        made.append(found("allow-all-policy", seen))
        made.append(found("sample-evidence", seen))
    return made


def _attest(target: Target, dialect: Dialect, nonce: str, cookie: str) -> Reply:
    key = TeeKey.generate(dialect.key_alg)
    evidence = Sample().evidence(report_data(dialect.bound(nonce, key.jwk, "")))
    body = dialect.attest_request(nonce, key.jwk, evidence, "")
    return target.post("kbs/v0/attest", body, {"cookie": cookie})


def _at_attestation_service(target: Target) -> list[Finding]:
    runtime = {"crag-check": "nothing"}
    made = []
    bound = target.post("attestation-service/attestation", _request(report_data(runtime), runtime))
    if bound.status == 200:
        made.append(_judged(_claims(bound.body.decode("ascii", "replace")), "The service"))
        replayed = target.post("attestation-service/attestation", _request(bytes(48), None))
        if replayed.status == 200:
            seen = "Evidence without any runtime data got a verdict."
            made.append(found("unbound-evidence", seen))
    return made


def _request(expected: bytes, runtime: dict[str, str] | None) -> dict[str, Any]:
    entry = {
        "tee": "sample",
        "evidence": b64url(canonical_json(Sample().evidence(expected))),
        "runtime_data": None if runtime is None else {"structured": runtime},
        "init_data": None,
        "runtime_data_hash_algorithm": "sha384",
    }
    # Both forms at once: the servers take the one that they know and ignore the other.
    return {**entry, "verification_requests": [entry], "policy_ids": ["default"]}


def _judged(claims: dict[str, Any], who: str) -> Finding:
    """How bad a verdict on evidence is that nothing vouches for."""
    submods = claims.get("submods")
    if not isinstance(submods, dict):
        return found("sample-evidence", f"{who} gave a token of the Simple kind, which is a yes.")
    for submod in submods.values():
        vector = submod.get("ear.trustworthiness-vector") if isinstance(submod, dict) else None
        hardware = vector.get("hardware") if isinstance(vector, dict) else None
        if isinstance(hardware, int) and 2 <= hardware <= 31:
            seen = f"{who} takes software for genuine hardware (hardware {hardware})."
            return found("sample-evidence", seen)
    return found("sample-appraised", f"{who} gave a token that does not affirm.")


def probe_policies(target: Target) -> list[Finding]:
    """Evaluate the attestation policy, where anybody may read it, on a stranger's TD."""
    reply = target.get("kbs/v0/attestation-policy/default")
    if reply.status != 200:
        return []
    text = reply.body.decode("ascii", "replace").strip().strip('"')
    try:
        policy = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        raise CragError("the attestation policy is not readable") from None
    made = []
    if _affirms(policy, debug=False):
        seen = "Evaluated here, it affirms a TD of random measurements."
        made.append(found("nothing-pinned", seen))
    if _affirms(policy, debug=True):
        made.append(found("debug-affirmed", "Evaluated here, it affirms that TD in debug mode."))
    return made


def _affirms(policy: str, *, debug: bool) -> bool:
    from crag_core.trustee.check.stranger import ear_input, simple_input

    try:
        simple = evaluate(policy, ["allow"], simple_input(debug=debug), {"reference": {}})
        if simple:
            return simple.get("allow") is True
        rules = evaluate(
            policy, [*_RULES, "trust_claims"], ear_input(debug=debug), {"reference": {}}
        )
    except PolicyError:
        return False
    claims = rules.get("trust_claims", rules)
    values = [value for value in claims.values() if isinstance(value, int) and value not in (0, 1)]
    return bool(values) and all(2 <= value <= 31 for value in values)


def _claims(token: str) -> dict[str, Any]:
    try:
        part = token.split(".")[1]
        found_claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        found_claims = None
    if not isinstance(found_claims, dict):
        raise CragError("the token is not readable")
    return found_claims


def _json(reply: Reply) -> object:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None
