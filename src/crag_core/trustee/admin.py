"""Administration of a Trustee: resources, policies, reference values, audit.

Each request carries a token of its own that lives two minutes, signed with the admin's Ed25519
key. In what the servers differ is in :mod:`crag_core.trustee.dialects`; which one answers is found
out when it first matters, unless it was said.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlencode

from crag_core.errors import BadInput, NotSupported
from crag_core.trustee import releases
from crag_core.trustee.admin_token import AdminToken
from crag_core.trustee.dialects import SERVERS, Server, detect
from crag_core.trustee.http import Deadline, Http, Reply, problem
from crag_core.trustee.kbs import resource_path
from crag_core.trustee.policy_wire import policy_body, policy_encoded, policy_text
from crag_core.trustee.refusals import not_a_trustee, refusal
from crag_core.trustee.urls import kbs_bases, require_private

# So many records a gateway keeps of each kind.
_GATEWAY_KEEPS = 1000


class AdminClient:
    """The admin of one Trustee; a context manager.

    Args:
        url: the Trustee's URL: a gateway's, with or without ``/api``, or the key broker's own.
        admin_key_pem: the admin's Ed25519 private key, PKCS#8 PEM.
        ca: PEM file of the authorities to trust where the URL is https.
        kind: a kind of server (:data:`crag_core.trustee.dialects.SERVERS`); None finds out.
        claims: further claims of the tokens, as an upstream Trustee may want (``role``, ``iss``,
            ``aud``); the role is ``admin`` unless another one is given.

    Raises:
        BadInput: the key or the URL cannot be used, or the URL is plain http to another machine.

    Every method raises Unreachable where the Trustee doesn't answer in time, CragError (code
    ``admin-refused``) where it doesn't accept the key, and NotSupported where this kind of server
    has no such thing.
    """

    def __init__(
        self,
        url: str,
        admin_key_pem: bytes,
        *,
        ca: Path | None = None,
        kind: str | None = None,
        claims: Mapping[str, str] | None = None,
    ) -> None:
        self._token = AdminToken(admin_key_pem, claims)
        require_private(url)
        self._bases = kbs_bases(url)
        self._base: str | None = self._bases[0] if len(self._bases) == 1 else None
        self._http = Http(url, ca=ca)
        self._server = SERVERS[kind] if kind else None

    @property
    def server(self) -> Server:
        """Which kind of server this is.

        Raises:
            CragError: it is none that we know.
        """
        if self._server is None:
            self._server, self._base = detect(self._http, self._bases, Deadline())
        return self._server

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def set_resource(self, path: str, data: bytes) -> None:
        """Set the resource ``path`` (``repository/type/tag``, or its ``kbs:///`` URI) to ``data``.

        Raises:
            BadInput: the name is not one of a resource, or ``data`` is empty.
        """
        name = resource_path(path)
        if not data:
            raise BadInput(f"The resource {name} would be empty.", hint="Give it some bytes.")
        self._send("POST", f"resource/{name}", f"the resource {name}", content=data)

    def delete_resource(self, path: str) -> None:
        """Delete the resource ``path``.

        Raises:
            CragError: there is none (code ``resource-missing``).
        """
        name = resource_path(path)
        self._send("DELETE", f"resource/{name}", f"the resource {name}")

    def list_resources(self) -> list[str]:
        """The names of all resources, ``repository/type/tag``, sorted."""
        if not self.server.lists_resources:
            raise self._lacks("list of its resources")
        reply = self._send("GET", "resources", "the list of resources")
        names = ("repository_name", "resource_type", "resource_tag")
        try:
            listed = ["/".join(str(item[name]) for name in names) for item in reply.json()]
            return sorted(resource_path(name) for name in listed)
        except (TypeError, KeyError, BadInput):
            raise not_a_trustee(reply) from None

    def get_resource_policy(self, scope: str = "") -> str:
        """The resource policy, in Rego; with a ``scope`` that of a repository or a part of it.

        Raises:
            CragError: that scope has none of its own.
        """
        if not self.server.shows_policies:
            raise self._lacks("policies that can be read back")
        return policy_text(self._send("GET", self._scoped(scope), "the resource policy"))

    def set_resource_policy(self, rego: str, scope: str = "") -> None:
        """Replace the resource policy, or that of a ``scope`` (``repository[/type[/tag]]``).

        Raises:
            CragError: the Trustee cannot use it (code ``policy-broken``).
        """
        body = {"policy": policy_encoded(rego)}
        self._send("POST", self._scoped(scope), "the resource policy", json_body=body)

    def delete_resource_policy(self, scope: str) -> None:
        """Delete the resource policy of a scope; what it covered falls to the next wider one."""
        self._send("DELETE", self._scoped(scope), f"the resource policy of {scope}")

    def _scoped(self, scope: str) -> str:
        if scope and not self.server.scoped_policies:
            raise self._lacks("resource policies for parts of its resources")
        return f"resource-policy/{scope}" if scope else "resource-policy"

    def get_attestation_policy(self, policy_id: str = "default") -> str:
        """The attestation policy of an id, in Rego."""
        if not self.server.shows_policies:
            raise self._lacks("policies that can be read back")
        subject = f"the attestation policy {policy_id}"
        where = f"attestation-policy/{_segment(policy_id)}"
        return policy_text(self._send("GET", where, subject))

    def set_attestation_policy(self, policy_id: str, rego: str) -> None:
        """Replace the attestation policy of an id.

        Raises:
            CragError: the Trustee cannot use it.
        """
        name = policy_id + self.server.policy_suffix
        body = policy_body(name, rego)
        subject = f"the attestation policy {policy_id}"
        self._send("POST", "attestation-policy", subject, json_body=body)

    def list_attestation_policies(self) -> dict[str, str]:
        """Id of each attestation policy to its SHA-384, base64url, as the server says."""
        if not self.server.shows_policies:
            raise self._lacks("policies that can be read back")
        reply = self._send("GET", "attestation-policies", "the list of policies")
        found = reply.json()
        if not isinstance(found, dict):
            raise not_a_trustee(reply)
        return {str(name): str(digest) for name, digest in found.items()}

    def delete_attestation_policy(self, policy_id: str) -> None:
        """Delete the attestation policy of an id.

        Raises:
            CragError: there is none, or it is ``default``, which can only be replaced.
        """
        if not self.server.shows_policies:
            raise self._lacks("attestation policies that can be deleted")
        where = f"attestation-policy/{_segment(policy_id)}"
        self._send("DELETE", where, f"the attestation policy {policy_id}")

    def set_gpu_policy(self, policy_id: str, rego: str) -> None:
        """Replace the attestation policy for GPUs of an id.

        Raises:
            NotSupported: this kind of server judges no GPUs.
        """
        if not self.server.verifies_gpus:
            raise self._lacks("policies for GPUs")
        body = policy_body(f"{policy_id}_gpu", rego)
        self._send("POST", "attestation-policy", "the policy for GPUs", json_body=body)

    def set_reference_values(
        self, values: Mapping[str, Sequence[str]], expires: int | None = None
    ) -> None:
        """Replace the reference values of each name in ``values``; other names stay.

        Args:
            values: an empty list takes the name away.
            expires: unix seconds, kept by crag's Trustee; others keep values a year.
        """
        server = self.server
        if server.references == "named":
            self._register(values, expires)
            return
        gone = [name for name, found in values.items() if not found]
        if gone or server.reference_merges:
            known = self.get_reference_values()
            # Until the new values are registered the name accepts nothing.
            for name in (name for name in values if name in known):
                where = f"delete/{_segment(name)}"
                self._send("DELETE", where, "the reference values", rvps=True)
        kept = {name: found for name, found in values.items() if found}
        if kept:
            self._register(kept, expires)

    def _register(self, values: Mapping[str, Sequence[str]], expires: int | None) -> None:
        payload = json.dumps({name: list(found) for name, found in values.items()})
        message = {
            "version": "0.1.0",
            "type": "sample",
            "payload": base64.b64encode(payload.encode()).decode("ascii"),
        }
        if expires is not None:
            message["expires"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        if self.server.references != "named":
            body: dict[str, Any] = {"message": json.dumps(message)}
            self._send("POST", "register", "the reference values", json_body=body, rvps=True)
        else:
            self._send("POST", "reference-value", "the reference values", json_body=message)

    def get_reference_values(self, names: Sequence[str] = ()) -> dict[str, list[str]]:
        """Reference values by name; those that are no lists of strings are left out.

        Args:
            names: which ones to ask for where the server cannot list them; others list all.
        """
        if self.server.references != "named":
            reply = self._send("GET", "query", "the reference values", rvps=True)
            found = reply.json()
        else:
            found = {name: self._reference_value(name) for name in names}
            reply = None
        if not isinstance(found, dict):
            raise not_a_trustee(reply) if reply else self._lacks("reference values")
        return {
            name: values
            for name, values in found.items()
            if isinstance(values, list) and all(isinstance(value, str) for value in values)
        }

    def _reference_value(self, name: str) -> object:
        subject = f"the reference value {name}"
        reply = self._exchange("GET", f"{{base}}/kbs/v0/reference-value/{_segment(name)}", {})
        if reply.status == 200:
            return reply.json()
        if problem(reply).kind == "RvpsError":
            return None  # it has no other answer for a name that it doesn't know
        raise refusal(reply, subject)

    def key_releases(
        self, limit: int = 100, *, resource: str = "", released: bool = False
    ) -> list[releases.Release]:
        """Requests for resources, newest first.

        Args:
            limit: at most so many, 1 to 1000, of those that are asked for.
            resource: only requests for this one, ``repository/type/tag``.
            released: only those that were answered with the key, whatever many were refused since.

        Raises:
            NotSupported: this server keeps no such log.
        """
        kind = self.server.audit
        if kind == "none":
            raise self._lacks("audit log of key releases")
        wanted = dict(zip(("repository", "type", "tag"), resource.split("/"), strict=False))
        filters = {name: value for name, value in wanted.items() if value}
        if kind == "gateway":
            filters["method"] = "GET"
        if released:
            filters["successful"] = "true"
        reply = self._audit("resources", limit, filters)
        if kind == "admin":
            return releases.of_crag(_records(reply))
        attestations = self._audit("attestation", _GATEWAY_KEEPS)
        return releases.of_gateway(_records(reply), _records(attestations))

    def audit_broken_at(self) -> int | None:
        """The first line of crag's audit log that doesn't follow from the one before; else None."""
        if self.server.audit != "admin":
            return None
        found = self._audit("resources", 1).json().get("broken_at")
        return found if isinstance(found, int) else None

    def _audit(self, what: str, limit: int, filters: Mapping[str, str] | None = None) -> Reply:
        query = urlencode({"limit": limit, **(filters or {})})
        url = f"{{gateway}}/api/audit/{what}?{query}"
        reply = self._exchange("GET", url, {})
        if reply.status != 200:
            raise refusal(reply, "the audit log")
        return reply

    def _lacks(self, what: str) -> NotSupported:
        return NotSupported(
            f"This Trustee ({self.server.title}) has no {what}.",
            hint="docs/reference/trustee.md lists what each kind of server has.",
            details={"kind": self.server.kind},
        )

    def _send(
        self, method: str, path: str, subject: str, *, rvps: bool = False, **body: Any
    ) -> Reply:
        where = f"{{rvps}}/{path}" if rvps else f"{{base}}/kbs/v0/{path}"
        reply = self._exchange(method, where, body)
        if reply.status != 200:
            raise refusal(reply, subject)
        return reply

    def _exchange(self, method: str, where: str, body: Mapping[str, Any]) -> Reply:
        """The answer to a request, from the first base under which there is a key broker."""
        deadline = Deadline()
        reply: Reply | None = None
        for base in (self._base,) if self._base is not None else self._bases:
            rvps = self.server.reference_root(base) if "{rvps}" in where else ""
            url = where.format(base=base, gateway=base.removesuffix("/api"), rvps=rvps)
            reply = self._http.patient(
                method,
                url,
                headers=self._token.headers(),
                deadline=deadline,
                **body,
            )
            if reply.status == 404 and not problem(reply).kind:
                continue  # no key broker under this prefix
            self._base = base
            break
        assert reply is not None  # noqa: S101 - there is always a base to try
        return reply


def _segment(name: str) -> str:
    """A name as one segment of a path; braces would be taken for the URL's own."""
    return quote(name, safe="")


def _records(reply: Reply) -> list[dict[str, Any]]:
    body = reply.json()
    found = body.get("data") if isinstance(body, dict) else None
    if found is None and isinstance(body, dict) and "data" in body:
        return []  # Go writes an empty list as null
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise not_a_trustee(reply)
    return found
