"""EAR tokens, verified strictly: the Trustee's verdict on an enclave, before a user trusts it.

Rules, in the order in which they are checked; the first one broken is named in the error:
``form``, ``algorithm``, ``key``, ``certificate``, ``path``, ``signature`` (see
:mod:`crag_core.attestation.signed_token`), then ``time``, ``profile``, ``submods``, ``status``,
``policy`` and ``evidence``.

Sources: draft-ietf-rats-ear (status tiers, submodules); what TNG 2.12 and Trustee 1.9 enforce, to
which this adds the certificate's pinning, issue time, and agreement of vector and status.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, NoReturn

from crag_core.attestation import ear_claims, signed_token
from crag_core.attestation.evidence import INSECURE_TEES
from crag_core.attestation.signed_token import Fail, Token
from crag_core.attestation.verdict import Check, Verdict
from crag_core.errors import AttestationRejected

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
CPU = "cpu0"
LEEWAY_SECONDS = 60
_AFFIRMING = range(2, 32)
_NO_CLAIM = 0


@dataclass(frozen=True)
class EarToken:
    """A token that passed every rule.

    ``tee``: kind of the CPU's evidence. ``issued``, ``expires``: Unix seconds. ``runtime_data``:
    what the evidence is bound to. ``measurements``: name to hex. ``insecure``: some evidence was
    made by software. ``submods``: the submodules' claims. ``checks``: what was verified.
    """

    tee: str
    status: str
    policy_id: str
    issued: int
    expires: int
    issuer: str
    claims: dict[str, Any]
    runtime_data: dict[str, Any]
    measurements: dict[str, str]
    tcb: dict[str, Any]
    insecure: bool
    submods: dict[str, dict[str, Any]]
    checks: tuple[Check, ...]

    def verdict(self) -> Verdict:
        """The verdict that ``crag-user verify`` shows."""
        return Verdict(
            tee=self.tee,
            policy_id=self.policy_id,
            checks=self.checks,
            measurements=self.measurements,
            tcb=self.tcb,
            insecure=self.insecure,
            token={"issuer": self.issuer, "issued": self.issued, "expires": self.expires},
        )


class Rules:
    """Collects what held; the first rule that does not ends the verification."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def held(self, name: str, detail: str) -> None:
        """Note a rule that holds."""
        self.checks.append(Check(name, ok=True, detail=detail))

    def fail(self, name: str, detail: str) -> NoReturn:
        """Refuse by the rule ``name``; raises AttestationRejected."""
        self.checks.append(Check(name, ok=False, detail=detail))
        raise AttestationRejected(
            f"The attestation token is refused by the rule '{name}': {detail}.",
            hint=_HINTS.get(name, "Don't trust this service until its operator has an answer."),
            details={"rule": name, "checks": [check.as_json() for check in self.checks]},
        )


_HINTS = {
    "path": "Pin the certificate of the Trustee that you trust (--trustee-certificate); if it was "
    "made anew, fetch the new one over a way that you trust.",
    "time": "Check this machine's clock, and ask for a fresh token.",
    "policy": "Name the policy that the Trustee appraises with (--policy-id).",
    "status": "The Trustee's attestation policy does not know what runs there: compare the "
    "provider's measurement with its reference values.",
}


def verify_ear(
    token: str, *, anchor_pem: bytes, policy_id: str | None, now: int | None = None
) -> EarToken:
    """Verify an EAR token against a pinned authority.

    Args:
        token: the compact JWS that an attestation service answered with.
        anchor_pem: one or more PEM certificates; only these are trusted, never the token's own.
        policy_id: the appraisal policy that must have been applied, or None for any single one.
        now: Unix seconds; the current time by default.

    Raises:
        AttestationRejected: a rule is broken; ``details["rule"]`` names it and
            ``details["checks"]`` lists what held before.
        BadInput: ``anchor_pem`` holds no certificate.
    """
    at = int(time.time()) if now is None else now
    anchors = signed_token.anchors_from_pem(anchor_pem)
    rules = Rules()
    parsed = Token(token.strip(), rules.fail)
    rules.held("form", "a compact JWS with header, claims and signature")
    algorithm, path = signed_token.verify(parsed, anchors, at, rules.fail)
    rules.held("signature", f"{algorithm}, signed by {path}")
    claims = parsed.claims
    issued, expires = times(claims, at, rules.fail)
    rules.held("time", f"issued {at - issued} s ago, valid for {expires - at} s more")
    if claims.get("eat_profile") != PROFILE:
        rules.fail("profile", "it is not a Trustee EAR token (eat_profile)")
    rules.held("profile", PROFILE)
    submods = _submods(claims, rules.fail)
    rules.held("submods", ", ".join(submods))
    for name, submod in submods.items():
        _affirming(name, submod, rules.fail)
    rules.held("status", "every submodule is affirming")
    applied = _policy(submods, policy_id, rules.fail)
    rules.held("policy", applied)
    kinds = {name: _tee(name, submod, rules.fail) for name, submod in submods.items()}
    runtime_data = ear_claims.annotated(submods[CPU]).get(ear_claims.RUNTIME_DATA)
    if not isinstance(runtime_data, dict) or not runtime_data:
        rules.fail("evidence", "it does not say what the evidence is bound to")
    insecure = bool(INSECURE_TEES & set(kinds.values()))
    made = "software, without any protection by hardware" if insecure else "hardware"
    rules.held("evidence", f"{kinds[CPU]}, made by {made}")
    return EarToken(
        tee=kinds[CPU],
        status="affirming",
        policy_id=applied,
        issued=issued,
        expires=expires,
        issuer=_issuer(claims),
        claims=claims,
        runtime_data=runtime_data,
        measurements=ear_claims.measurements(kinds[CPU], submods[CPU]),
        tcb=ear_claims.tcb(kinds[CPU], submods[CPU]),
        insecure=insecure,
        submods=submods,
        checks=tuple(rules.checks),
    )


def times(claims: dict[str, Any], now: int, fail: Fail) -> tuple[int, int]:
    """Issue and expiry of a token that is valid at ``now``, in Unix seconds; the rule ``time``."""
    times: dict[str, int] = {}
    for name in ("iat", "exp", "nbf"):
        value = claims.get(name)
        if value is None and name == "nbf" and name not in claims:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            fail("time", f"its {name} is missing or not a whole number of seconds")
        times[name] = value
    if now > times["exp"] + LEEWAY_SECONDS:
        fail("time", f"it expired {now - times['exp']} s ago")
    if times["iat"] > now + LEEWAY_SECONDS or times.get("nbf", 0) > now + LEEWAY_SECONDS:
        fail("time", "it is from the future")
    if times["iat"] > times["exp"]:
        fail("time", "it expired before it was issued")
    return times["iat"], times["exp"]


def _submods(claims: dict[str, Any], fail: Fail) -> dict[str, dict[str, Any]]:
    submods = claims.get("submods")
    if not isinstance(submods, dict) or not isinstance(submods.get(CPU), dict):
        fail("submods", f"it has no submodule {CPU}")
    if not all(isinstance(submod, dict) for submod in submods.values()):
        fail("submods", "a submodule is not an object")
    return submods


def _affirming(name: str, submod: dict[str, Any], fail: Fail) -> None:
    status = submod.get("ear.status")
    vector = submod.get("ear.trustworthiness-vector")
    if status != "affirming":
        shown = status if status in ("none", "warning", "contraindicated") else "unknown"
        low = ""
        if isinstance(vector, dict):
            values = [
                f"{key} {value}"
                for key, value in sorted(vector.items())
                if isinstance(value, int) and value not in _AFFIRMING
            ]
            low = f" ({', '.join(values)})" if values else ""
        fail("status", f"the submodule {name[:40]} is {shown}, not affirming{low}")
    if not isinstance(vector, dict) or not vector:
        fail("status", f"the submodule {name[:40]} comes without a trustworthiness vector")
    for value in vector.values():
        if not isinstance(value, int) or isinstance(value, bool):
            fail("status", f"the submodule {name[:40]} has a vector that holds no number")
        if value not in _AFFIRMING and value != _NO_CLAIM:
            fail("status", f"the submodule {name[:40]} is affirming while its vector is not")
    if not any(value in _AFFIRMING for value in vector.values()):
        fail("status", f"the submodule {name[:40]} is affirming while its vector claims nothing")


def _policy(submods: dict[str, dict[str, Any]], wanted: str | None, fail: Fail) -> str:
    named = [submod.get("ear.appraisal-policy-id") for submod in submods.values()]
    found = named[0]
    if not isinstance(found, str) or not found or any(other != found for other in named):
        fail("policy", "its submodules do not name one appraisal policy")
    if wanted is not None and found != wanted:
        fail("policy", f"it was appraised with the policy {found[:64]!r}, not {wanted!r}")
    return found


def _tee(name: str, submod: dict[str, Any], fail: Fail) -> str:
    kinds = ear_claims.tees(submod)
    if len(kinds) != 1:
        fail("evidence", f"the submodule {name[:40]} does not say which one TEE it is about")
    return kinds[0]


def _issuer(claims: dict[str, Any]) -> str:
    issuer = claims.get("iss")
    verifier = claims.get("ear.verifier-id")
    if isinstance(issuer, str):
        return issuer
    developer = verifier.get("developer") if isinstance(verifier, dict) else None
    return developer if isinstance(developer, str) else "unknown"
