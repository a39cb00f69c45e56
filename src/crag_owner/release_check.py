"""Who would get a key that is put into a Trustee now: read from the resource policy in force.

Only what a policy says by itself can be told: that it releases to a workload whose evidence was
refused, or to one that claims nothing, or to no one. A policy that asks for measurements is taken
at its word; which ones, ``trustee policy show`` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from crag_core.errors import CragError, NotSupported, PolicyDenied
from crag_core.trustee import release_policy

if TYPE_CHECKING:
    from crag_core.trustee.admin import AdminClient

Verdict = Literal["anybody", "nobody", "conditional", "unknown"]

# Tokens that no key may be released to: no claims, and a verdict against the workload.
_REFUSED: tuple[dict[str, Any], ...] = (
    {},
    {"tee": "sample", "tcb-status": {}},
    {
        "submods": {
            name: {
                "ear.status": "contraindicated",
                "ear.appraisal-policy-id": "default",
                "ear.trustworthiness-vector": {"executables": 96, "hardware": 97},
            }
            for name in ("cpu", "cpu0")
        }
    },
)


@dataclass(frozen=True)
class Release:
    """Who gets the resource; ``why`` for a person."""

    verdict: Verdict
    why: str


def judge(policy: str, resource: str) -> Release:
    """Who gets ``resource`` (``repository/type/tag``) under a resource policy in Rego."""
    from crag_core.trustee.local.rego import PolicyError, evaluate

    for path in (f"resource/{resource}", resource, resource.split("/")):
        for claims in _REFUSED:
            try:
                found = evaluate(policy, ["allow"], claims, {"resource-path": path})
            except PolicyError:
                return Release("unknown", "its resource policy cannot be evaluated here")
            if found.get("allow", False) is not False:
                return Release(
                    "anybody", "its resource policy releases to workloads without good evidence"
                )
    if release_policy.denies_all(policy):
        return Release("nobody", "its resource policy releases nothing")
    named = release_policy.read(policy)
    if named is not None and resource not in named:
        return Release("nobody", f"its resource policy does not name {resource}")
    return Release("conditional", "its resource policy asks for good evidence")


def look(admin: AdminClient, resource: str) -> Release:
    """Who gets ``resource`` at a Trustee, by the policy that decides there.

    Raises:
        Unreachable: the Trustee does not answer.
        CragError: it refuses the administration key.
    """
    try:
        return judge(_deciding(admin, resource), resource)
    except NotSupported:
        return Release("unknown", "it does not show its resource policy")


def refuse_open(release: Release, resource: str, where: str) -> str:
    """A warning for a person, or an empty text where none is due.

    Raises:
        PolicyDenied: anybody would get the key.
    """
    fix = (
        "crag-owner trustee policy apply --measurement FILE --resource "
        f"kbs:///{resource}`, FILE from `crag-provider attest --json`"
    )
    if release.verdict == "anybody":
        raise PolicyDenied(
            f"The key was not put into {where}: {release.why}, so anybody would get it.",
            hint=f"Close it first: `{fix} (with --replace), then push again.",
            code="policy-open",
            details={"resource": f"kbs:///{resource}"},
        )
    if release.verdict == "nobody":
        return f"nobody gets the key from {where} yet: {release.why}. Run `{fix}."
    if release.verdict == "unknown":
        return (
            f"who gets the key from {where} is unknown: {release.why}. See `crag-owner trustee "
            "check`."
        )
    return ""


def _deciding(admin: AdminClient, resource: str) -> str:
    """The narrowest policy that the Trustee has for the resource."""
    if admin.server.scoped_policies:
        parts = resource.split("/")
        for length in (3, 2, 1):
            try:
                return admin.get_resource_policy("/".join(parts[:length]))
            except CragError as missing:
                # Anything else, such as a refused admin key, fails at the general policy again.
                if missing.exit_code != CragError.exit_code:
                    raise
    return admin.get_resource_policy()
