"""A Trustee's no as an error of ours: by the kind it names, never by its status."""

from __future__ import annotations

from crag_core.errors import AttestationRejected, CragError, NotSupported, PolicyDenied
from crag_core.trustee.http import Reply, problem

SESSION_KINDS = frozenset({"TokenNotFound", "TokenVerifierError"})


def refusal(reply: Reply, subject: str) -> CragError:
    """The error for ``reply``, which is no success.

    Args:
        subject: what was asked for, with its article, for example ``the resource default/crag/x``.

    Returns:
        AttestationRejected, PolicyDenied, NotSupported or CragError; raise it.
    """
    found = problem(reply)
    says = f" It says: {found.detail}" if found.detail else ""
    details = {"url": reply.url, "status": reply.status, "type": found.kind}
    if found.kind.startswith(("AttestationError", "AS.EVIDENCE.", "AS.CHALLENGE.")):
        return AttestationRejected(
            f"The Trustee at {reply.url} refused the evidence for {subject}.{says}",
            hint="Compare what runs ('crag-provider attest') with the measurements that the "
            "Trustee knows ('trustee policy show').",
            details=details,
        )
    if found.kind in SESSION_KINDS:
        return AttestationRejected(
            f"The Trustee at {reply.url} does not accept the attestation result as proof for "
            f"{subject}.{says}",
            hint="The session may have expired, or the Trustee does not trust its own signer.",
            details=details,
        )
    if found.kind == "PolicyDeny":
        return PolicyDenied(
            f"The policy of the Trustee at {reply.url} does not allow {subject}.{says}",
            hint="Its owner allows it with 'trustee policy apply', if the measurement is right.",
            details=details,
        )
    itself = not found.kind and found.detail and reply.status >= 500
    message, hint, code = _FAILED if itself else _FAILURES.get(found.kind, _UNKNOWN)
    error = NotSupported if found.kind in ("JweError", "AS.REQUEST.UNSUPPORTED_TEE") else CragError
    return error(
        f"The Trustee at {reply.url} {message} for {subject} (status {reply.status}).{says}",
        hint=hint,
        code=code,
        details=details,
    )


_UNKNOWN = ("gave an answer that we don't know", "Check that the URL is a Trustee's.", "failed")
_FAILED = (
    "failed",
    "Look at its log and its disk, then run the same command again.",
    "trustee-failed",
)
_NOT_THERE = ("has nothing at that address", _UNKNOWN[1], "not-a-trustee")
_FAILURES = {
    "PluginInternalError": (
        "has no such resource, or cannot read it,",
        "Check the resource's name; its owner puts it there with 'key push'.",
        "resource-missing",
    ),
    "PolicyEngine": (
        "has a policy that fails when it is evaluated",
        "Its owner replaces it with 'trustee policy apply'.",
        "policy-broken",
    ),
    "PluginNotFound": _NOT_THERE,
    "InvalidRequestPath": _NOT_THERE,
    "JweError": (
        "does not know our session key's algorithm",
        "Use a Trustee of version 1.6 or later.",
        "not-supported",
    ),
    "AS.REQUEST.UNSUPPORTED_TEE": (
        "does not appraise evidence of this kind",
        "Use a Trustee that has a verifier for it.",
        "not-supported",
    ),
}
_NO_ADMIN = (
    "does not accept the administrator's key",
    "Name its key with --trustee-admin-key-file, and what claims it wants (--trustee-admin-claim).",
    "admin-refused",
)
_FAILURES |= {"AdminAuth": _NO_ADMIN, "AdminAuthAccess": _NO_ADMIN}


def not_a_trustee(reply: Reply) -> CragError:
    """The error for an answer that no Trustee gives."""
    return CragError(
        f"{reply.url} answered with something that we don't know.",
        hint="Check that the URL is a Trustee's.",
        code="not-a-trustee",
    )
