"""Simple tokens, verified strictly: what openanolis Trustee 1.5 issues by default.

Such a token has no status: its service issues one only where the attestation policy's ``allow`` is
true, and refuses otherwise. It says what was measured, not how well; Trustee 1.5 knows nothing of
patches, and its shipped policy allows whatever it has no reference value for. So a caller compares
the measurements, or pins them in the policy.

Rules as in :mod:`crag_core.attestation.ear`, with ``profile`` for the form of a Simple token and
without ``submods`` and ``status``. Source: openanolis/trustee v1.5.2, ``token/simple.rs``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from crag_core.attestation import signed_token
from crag_core.attestation.ear import Rules, times
from crag_core.attestation.ear_claims import KNOWN_TEES
from crag_core.attestation.evidence import INSECURE_TEES
from crag_core.attestation.signed_token import Fail, Token
from crag_core.attestation.verdict import Check, Verdict

_BOUND = {"report_data", "init_data"}


@dataclass(frozen=True)
class SimpleToken:
    """A Simple token that passed every rule.

    ``measurements``: the flattened claims without the TEE's name in front, for example
    ``quote.body.mr_td``, those that are text. The rest as in
    :class:`crag_core.attestation.ear.EarToken`.
    """

    tee: str
    policy_id: str
    issued: int
    expires: int
    issuer: str
    claims: dict[str, Any]
    runtime_data: dict[str, Any]
    measurements: dict[str, str]
    insecure: bool
    checks: tuple[Check, ...]

    def verdict(self) -> Verdict:
        """The verdict in the form of ``crag-user verify``."""
        return Verdict(
            tee=self.tee,
            policy_id=self.policy_id,
            checks=self.checks,
            measurements=self.measurements,
            tcb={},
            insecure=self.insecure,
            token={"issuer": self.issuer, "issued": self.issued, "expires": self.expires},
        )


def verify_simple(
    token: str, *, anchor_pem: bytes, policy_id: str | None, now: int | None = None
) -> SimpleToken:
    """Verify a Simple token against a pinned authority; arguments as :func:`ear.verify_ear`.

    Raises:
        AttestationRejected: a rule is broken; ``details["rule"]`` names it.
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
    reports = claims.get("evaluation-reports")
    if "eat_profile" in claims or "submods" in claims or not isinstance(reports, list):
        rules.fail("profile", "it is not a Simple token (evaluation-reports)")
    rules.held("profile", "a Simple token, issued only where the policy allows")
    applied = _policy(reports, policy_id, rules.fail)
    rules.held("policy", applied)
    tee, measured = _evidence(claims, rules.fail)
    runtime_data = _runtime_data(claims, rules.fail)
    insecure = tee in INSECURE_TEES
    made = "software, without any protection by hardware" if insecure else "hardware"
    rules.held("evidence", f"{tee}, made by {made}")
    issuer = claims.get("iss")
    return SimpleToken(
        tee=tee,
        policy_id=applied,
        issued=issued,
        expires=expires,
        issuer=issuer if isinstance(issuer, str) else "unknown",
        claims=claims,
        runtime_data=runtime_data,
        measurements=measured,
        insecure=insecure,
        checks=tuple(rules.checks),
    )


def _policy(reports: list[Any], wanted: str | None, fail: Fail) -> str:
    named = [entry.get("policy-id") if isinstance(entry, dict) else None for entry in reports]
    if len(named) != 1 or not isinstance(named[0], str) or not named[0]:
        fail("policy", "it does not name one appraisal policy")
    if wanted is not None and named[0] != wanted:
        fail("policy", f"it was appraised with the policy {named[0][:64]!r}, not {wanted!r}")
    return named[0]


def _evidence(claims: dict[str, Any], fail: Fail) -> tuple[str, dict[str, str]]:
    tee, text = claims.get("tee"), claims.get("tcb-status")
    if not isinstance(tee, str) or tee not in KNOWN_TEES:
        fail("evidence", "it does not say which known TEE it is about")
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        fail("evidence", "it does not say what was measured (tcb-status)")
    prefix = f"{tee}."
    if any(not name.startswith(prefix) for name in found.keys() - _BOUND):
        fail("evidence", f"what was measured is not only about {tee}")
    return tee, {
        name.removeprefix(prefix): value
        for name, value in found.items()
        if name not in _BOUND and isinstance(value, str)
    }


def _runtime_data(claims: dict[str, Any], fail: Fail) -> dict[str, Any]:
    custom = claims.get("customized_claims")
    found = custom.get("runtime_data") if isinstance(custom, dict) else None
    if not isinstance(found, dict) or not found:
        fail("evidence", "it does not say what the evidence is bound to")
    return found
