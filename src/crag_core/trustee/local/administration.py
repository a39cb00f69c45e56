"""What the admin may do: resources, policies, reference values. Each act is in the audit log.

An act is recorded once it is known to be possible and before it happens: one that cannot be
recorded (a full disk) does not happen, and one that then fails stands in the log all the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.trustee.local.audit import Audit
from crag_core.trustee.local.audit_log import MAX_LIMIT, AuditLog
from crag_core.trustee.local.codec import (
    Malformed,
    b64url_decode,
    b64url_encode,
    read_object,
)
from crag_core.trustee.local.policies import DEFAULT_ID, Policies, UnknownPolicy, digest
from crag_core.trustee.local.reference_values import ReferenceValues, read_message
from crag_core.trustee.local.rego import PolicyError
from crag_core.trustee.local.replies import KbsRefusal
from crag_core.trustee.local.resources import IllegalName, ResourceName, Resources


@dataclass(frozen=True)
class Administration:
    """The admin's half of one Trustee; its caller has checked who asks."""

    resources: Resources
    policies: Policies
    references: ReferenceValues
    audit: Audit
    log: AuditLog
    admin_id: str

    def set_resource(self, path: str, data: bytes) -> None:
        """Set a resource.

        Raises:
            KbsRefusal: an illegal name, or no data.
        """
        name = _name(path)
        if not data:
            raise KbsRefusal(400, "PluginInternalError", "Plugin internal error: empty resource")
        self._record("resource-set", resource=str(name))
        self.resources.set(name, data)

    def delete_resource(self, path: str) -> None:
        """Delete a resource.

        Raises:
            KbsRefusal: an illegal name, or none there.
        """
        name = _name(path)
        if name not in self.resources.names():
            raise KbsRefusal(404, "PluginInternalError", "Plugin internal error: no such resource")
        self._record("resource-deleted", resource=str(name))
        self.resources.delete(name)

    def list_resources(self) -> list[dict[str, str]]:
        """Names of all resources, in the KBS's shape."""
        return [
            {"repository_name": n.repository, "resource_type": n.kind, "resource_tag": n.tag}
            for n in self.resources.names()
        ]

    def resource_policy(self, scope: str = "") -> str:
        """The resource policy of a scope ("" is the general one), base64url.

        Raises:
            KbsRefusal: the scope has none of its own.
        """
        try:
            return b64url_encode(self.policies.resource_policy(scope).encode())
        except UnknownPolicy as error:
            raise KbsRefusal(404, "PolicyEngine", f"Policy engine error: {error}") from None

    def resource_policies(self) -> dict[str, str]:
        """Scope to base64url of SHA-384 of each resource policy; the general one is ``""``."""
        return {
            scope: b64url_encode(bytes.fromhex(digest(self.policies.resource_policy(scope))))
            for scope in ("", *self.policies.scopes())
        }

    def set_resource_policy(self, *arguments: Any) -> None:
        """Replace the resource policy of a scope; body ``{"policy": base64url}``.

        Args:
            arguments: the scope where the path has one, and the body.

        Raises:
            KbsRefusal: malformed, or a policy that cannot be used.
        """
        *scopes, body = arguments
        scope = str(scopes[0]) if scopes else ""
        policy = _policy(_object(body))
        try:
            self.policies.check_resource_policy(policy, scope)
            self._record("resource-policy-set", scope=scope, sha384=digest(policy))
            self.policies.set_resource_policy(policy, scope)
        except (PolicyError, UnknownPolicy) as error:
            raise KbsRefusal(400, "PolicyEngine", f"Policy engine error: {error}") from None

    def delete_resource_policy(self, scope: str) -> None:
        """Delete the resource policy of a scope; what it covered falls to the next wider one.

        Raises:
            KbsRefusal: there is none.
        """
        if scope not in self.policies.scopes():
            detail = "Policy engine error: this part has no resource policy of its own"
            raise KbsRefusal(404, "PolicyEngine", detail)
        self._record("resource-policy-deleted", scope=scope)
        self.policies.delete_resource_policy(scope)

    def attestation_policy(self, policy_id: str) -> str:
        """The attestation policy of an id, base64url.

        Raises:
            KbsRefusal: there is none.
        """
        try:
            return b64url_encode(self.policies.attestation_policy(policy_id).encode())
        except UnknownPolicy as error:
            raise KbsRefusal(404, "GetPolicy", f"Get policy error: {error}") from None

    def attestation_policies(self) -> dict[str, str]:
        """Id to base64url of SHA-384 of each attestation policy."""
        ids = self.policies.attestation_ids()
        return {
            i: b64url_encode(bytes.fromhex(digest(self.policies.attestation_policy(i))))
            for i in ids
        }

    def set_attestation_policy(self, body: bytes) -> None:
        """Replace an attestation policy; body ``{"policy_id", "policy": base64url, "type"?}``.

        Raises:
            KbsRefusal: malformed, or a policy that cannot be used.
        """
        request = _object(body)
        policy_id = str(request.get("policy_id", DEFAULT_ID))
        policy = _policy(request)
        try:
            self.policies.check_attestation_policy(policy_id, policy)
            self._record("attestation-policy-set", policy_id=policy_id, sha384=digest(policy))
            self.policies.set_attestation_policy(policy_id, policy)
        except (PolicyError, UnknownPolicy) as error:
            raise KbsRefusal(400, "SetPolicy", f"Set policy error: {error}") from None

    def delete_attestation_policy(self, policy_id: str) -> None:
        """Delete an attestation policy.

        Raises:
            KbsRefusal: there is none, or it is ``default``.
        """
        try:
            self.policies.check_deletion(policy_id)
            self._record("attestation-policy-deleted", policy_id=policy_id)
            self.policies.delete_attestation_policy(policy_id)
        except UnknownPolicy as error:
            raise KbsRefusal(400, "DeletePolicy", f"Delete policy error: {error}") from None

    def reference_values(self) -> dict[str, list[str]]:
        """All reference values by name."""
        return self.references.all()

    def register_reference_values(self, body: bytes) -> None:
        """Register an RVPS message of type ``sample``; body ``{"message": "<JSON>"}``.

        Raises:
            KbsRefusal: malformed.
        """
        try:
            found = read_message(_object(body).get("message"), time.time())
        except Malformed as error:
            raise KbsRefusal(400, "RVPSConfiguration", f"Reference values: {error}") from None
        self._record("reference-values-set", values=found.values, expires=found.expires)
        self.references.register(found.values, found.expires)

    def reference_value_expiries(self) -> dict[str, int]:
        """When each name's reference values expire, in unix seconds."""
        return self.references.expiries()

    def delete_reference_value(self, name: str) -> None:
        """Take one name's reference values away.

        Raises:
            KbsRefusal: no such name.
        """
        if name not in self.references.expiries():
            raise KbsRefusal(404, "RVPSConfiguration", "Reference values: no such name")
        self._record("reference-value-deleted", name=name)
        self.references.delete(name)

    def resource_requests(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Releases and refusals, newest first: ``{"data": [...], "total", "broken_at"}``.

        Raises:
            KbsRefusal: ``limit`` or ``offset`` is no such number.
        """
        limit, offset = _count(query, "limit", 100), _count(query, "offset", 0)
        if not 1 <= limit <= MAX_LIMIT:
            raise KbsRefusal(400, "InvalidRequest", f"limit must be 1 to {MAX_LIMIT}")
        data, total = self.log.requests(limit=limit, offset=offset, filters=query)
        return {"data": data, "total": total, "broken_at": self.log.broken_at()}

    def _record(self, event: str, **facts: Any) -> None:
        self.audit.record(event, admin=self.admin_id, **facts)


def _count(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not (text.isascii() and text.isdecimal() and len(text) <= 6):
        raise KbsRefusal(400, "InvalidRequest", f"{name} must be a number")
    return int(text)


def _name(path: str) -> ResourceName:
    try:
        return ResourceName.parse(path)
    except IllegalName as error:
        raise KbsRefusal(400, "PluginInternalError", f"Plugin internal error: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        return read_object(body)
    except Malformed as error:
        raise KbsRefusal(400, "InvalidRequest", f"The request is {error}") from None


def _policy(request: Mapping[str, Any]) -> str:
    try:
        return b64url_decode(request.get("policy")).decode("utf-8")
    except (Malformed, UnicodeDecodeError):
        detail = "Policy engine error: the policy is not base64url (no padding) of UTF-8"
        raise KbsRefusal(400, "PolicyEngine", detail) from None


def as_json(value: Any) -> bytes:
    """Compact JSON of an answer."""
    return json.dumps(value, separators=(",", ":")).encode()
