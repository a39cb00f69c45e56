"""Administration of a Trustee: resources, policies, reference values; by JWTs of a minute's life.

The same requests that the real Trustee takes (its 1.6 and later; reference values by its
``rvps`` paths). Each carries its own token, signed with the admin's Ed25519 key.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from crag_core.errors import BadInput, CragError
from crag_core.trustee.http import Deadline, Http, Reply, problem
from crag_core.trustee.kbs import resource_path
from crag_core.trustee.refusals import refusal
from crag_core.trustee.urls import kbs_bases

TOKEN_SECONDS = 120


class AdminClient:
    """The admin of one Trustee; a context manager.

    Args:
        url: the Trustee's URL: a gateway's, with or without ``/api``, or the key broker's own.
        admin_key_pem: the admin's Ed25519 private key, PKCS#8 PEM.
        ca: PEM file of the authorities to trust where the URL is https.

    Raises:
        BadInput: the key or the URL cannot be used.

    Every method raises Unreachable where the Trustee doesn't answer in time, and CragError (code
    ``admin-refused``) where it doesn't accept the key.
    """

    def __init__(self, url: str, admin_key_pem: bytes, *, ca: Path | None = None) -> None:
        from crag_core.trustee.local.identity import load_admin_key

        self._key = load_admin_key(admin_key_pem, "The admin's key")
        self._bases = kbs_bases(url)
        self._base: str | None = self._bases[0] if len(self._bases) == 1 else None
        self._http = Http(url, ca=ca)

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
        reply = self._send("GET", "resources", "the list of resources")
        names = ("repository_name", "resource_type", "resource_tag")
        try:
            return sorted("/".join(str(item[name]) for name in names) for item in reply.json())
        except (TypeError, KeyError):
            raise _not_a_trustee(reply) from None

    def get_resource_policy(self) -> str:
        """The resource policy, in Rego."""
        return _policy(self._send("GET", "resource-policy", "the resource policy"))

    def set_resource_policy(self, rego: str) -> None:
        """Replace the resource policy.

        Raises:
            CragError: the Trustee cannot use it (code ``policy-broken``).
        """
        body = {"policy": _b64url(rego.encode())}
        self._send("POST", "resource-policy", "the resource policy", json_body=body)

    def get_attestation_policy(self, policy_id: str = "default") -> str:
        """The attestation policy of an id, in Rego."""
        subject = f"the attestation policy {policy_id}"
        return _policy(self._send("GET", f"attestation-policy/{policy_id}", subject))

    def set_attestation_policy(self, policy_id: str, rego: str) -> None:
        """Replace the attestation policy of an id.

        Raises:
            CragError: the Trustee cannot use it.
        """
        body = {"type": "rego", "policy_id": policy_id, "policy": _b64url(rego.encode())}
        subject = f"the attestation policy {policy_id}"
        self._send("POST", "attestation-policy", subject, json_body=body)

    def set_reference_values(self, values: Mapping[str, Sequence[str]]) -> None:
        """Replace the reference values of each name in ``values``; other names stay."""
        payload = json.dumps({name: list(found) for name, found in values.items()})
        message = {
            "version": "0.1.0",
            "type": "sample",
            "payload": base64.b64encode(payload.encode()).decode("ascii"),
        }
        body = {"message": json.dumps(message)}
        self._send("POST", "rvps/register", "the reference values", json_body=body)

    def get_reference_values(self) -> dict[str, list[str]]:
        """All reference values by name; those that are no lists of strings are left out."""
        reply = self._send("GET", "rvps/query", "the reference values")
        found = reply.json()
        if not isinstance(found, dict):
            raise _not_a_trustee(reply)
        return {
            name: values
            for name, values in found.items()
            if isinstance(values, list) and all(isinstance(value, str) for value in values)
        }

    def _send(self, method: str, path: str, subject: str, **body: Any) -> Reply:
        deadline = Deadline()
        reply: Reply | None = None
        for base in (self._base,) if self._base else self._bases:
            reply = self._http.patient(
                method,
                f"{base}/kbs/v0/{path}",
                headers={"authorization": f"Bearer {self._token()}"},
                deadline=deadline,
                **body,
            )
            if reply.status == 404 and not problem(reply).kind:
                continue  # no key broker under this prefix
            self._base = base
            break
        if reply is None or reply.status != 200:
            raise refusal(reply, subject) if reply else CragError(f"Nothing answers for {subject}.")
        return reply

    def _token(self) -> str:
        from crag_core.trustee.local import jws

        now = int(time.time())
        return jws.sign({}, {"iat": now, "exp": now + TOKEN_SECONDS}, self._key)


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _policy(reply: Reply) -> str:
    """The Rego in an answer: base64url without padding, perhaps in JSON quotes."""
    text = reply.body.decode("ascii", "replace").strip().strip('"')
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        raise _not_a_trustee(reply) from None


def _not_a_trustee(reply: Reply) -> CragError:
    return CragError(
        f"{reply.url} answered with something that we don't know.",
        hint="Check that the URL is a Trustee's.",
        code="not-a-trustee",
    )
