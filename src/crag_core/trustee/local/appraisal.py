"""From claims to a verdict: the attestation policy's trustworthiness vector and its EAR status.

Tiers as in the EAR draft (draft-ietf-rats-ar4si): -1..1 none, 2..31 affirming, 32..95 warning,
96..127 contraindicated. What lies outside (and what is negative) counts as contraindicated here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.trustee.local.policies import CLAIMS, UPSTREAM, digest
from crag_core.trustee.local.rego import PolicyError, evaluate
from crag_core.trustee.local.verifiers import Verified

AFFIRMING = "affirming"
_TIERS = ("none", AFFIRMING, "warning", "contraindicated")


@dataclass(frozen=True)
class Appraisal:
    """The verdict of one policy on one TEE's claims; ``vector`` has the wire's hyphenated names."""

    policy_id: str
    policy_digest: str
    vector: Mapping[str, int]
    status: str


def _tier(value: int) -> int:
    if -1 <= value <= 1:
        return 0
    if 2 <= value <= 31:
        return 1
    return 2 if 32 <= value <= 95 else 3


def appraise(
    verified: Verified,
    *,
    policy_id: str,
    policy: str,
    references: Mapping[str, list[str]],
    accept_sample: bool,
) -> Appraisal:
    """Judge what evidence proves by an attestation policy and the reference values.

    A policy states its claims as the forks read them (a rule each, with underscores), as upstream
    reads them (one object ``trust_claims``, with hyphens), or both ways alike.

    Raises:
        PolicyError: the policy fails, sets no claim, sets one to what is no trust value, or says
            two things in the two ways.
    """
    rules = evaluate(
        policy,
        (*CLAIMS, UPSTREAM),
        {verified.tee: dict(verified.claims), "report_data": verified.report_data},
        {"reference": dict(references), "accept_sample_evidence": accept_sample},
    )
    found = _claims(rules)
    for value in found.values():
        if isinstance(value, bool) or not isinstance(value, int) or not -128 <= value <= 127:
            raise PolicyError("a trust claim is not an integer from -128 to 127")
    return Appraisal(
        policy_id=policy_id,
        policy_digest=digest(policy),
        vector={name.replace("_", "-"): value for name, value in sorted(found.items())},
        status=_TIERS[max(_tier(value) for value in found.values())],
    )


def _claims(rules: Mapping[str, Any]) -> dict[str, Any]:
    """The trust claims by their names with underscores, from whichever interface sets them."""
    upstream = rules.get(UPSTREAM)
    found = {name: value for name, value in rules.items() if name != UPSTREAM}
    if upstream is None:
        if not found:
            raise PolicyError("the policy sets no trust claim")
        return found
    if not isinstance(upstream, dict) or not upstream:
        raise PolicyError("trust_claims is not an object with members")
    other = {str(name).replace("-", "_"): value for name, value in upstream.items()}
    if not set(other) <= set(CLAIMS) or any("_" in str(name) for name in upstream):
        raise PolicyError("trust_claims has a member that is no trust claim")
    if any(other.get(name) != value for name, value in found.items()):
        raise PolicyError("trust_claims and the rules of the same names differ")
    return other


def submodule(
    verified: Verified, appraisal: Appraisal, runtime_data: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The EAR submodule of one TEE, in the shape that TNG and the KBS policies read."""
    return {
        "ear.status": appraisal.status,
        "ear.trustworthiness-vector": dict(appraisal.vector),
        "ear.appraisal-policy-id": appraisal.policy_id,
        "ear.veraison.annotated-evidence": {
            verified.tee: dict(verified.claims),
            "report_data": verified.report_data,
            "runtime_data_claims": None if runtime_data is None else dict(runtime_data),
            "init_data": "",
            "init_data_claims": None,
        },
    }
