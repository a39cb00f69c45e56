"""The attestation service's client: have evidence appraised and get the signed verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from crag_core.errors import AttestationRejected, CragError
from crag_core.trustee.admin_token import AdminToken
from crag_core.trustee.http import TOTAL_SECONDS, Deadline, Http, Reply, problem
from crag_core.trustee.jwe import b64url
from crag_core.trustee.policy_wire import policy_body, policy_text
from crag_core.trustee.refusals import not_a_trustee, refusal
from crag_core.trustee.urls import as_base, require_private

_PEM = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True)
class Challenge:
    """A nonce of the attestation service (base64 text), and the token in which it is signed.

    The token goes into the runtime data as ``challenge_token``.
    """

    nonce: str
    token: str


class AsClient:
    """Talks to one attestation service; a context manager.

    Args:
        url: a Trustee gateway's URL, with or without ``/api``, or the attestation service's own.
        ca: PEM file of the authorities to trust where the URL is https.
        total: seconds that one call may take, with its retries.
        admin: for policies, where the service asks who wants them (crag's own does; those of the
            forks serve everybody).

    Raises:
        BadInput: an admin's token would go over plain http to another machine.
    """

    def __init__(
        self,
        url: str,
        *,
        ca: Path | None = None,
        total: float = TOTAL_SECONDS,
        admin: AdminToken | None = None,
    ) -> None:
        if admin is not None:
            require_private(url)
        self._http = Http(as_base(url), ca=ca)
        self._total = total
        self._admin = admin

    @property
    def url(self) -> str:
        """The base URL, as TNG's ``as_addr`` wants it."""
        return self._http.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def certificate(self) -> bytes:
        """The PEM certificates that the service offers as its authority.

        Whoever answers on the wire chooses them: pin them only over a way that you trust.

        Raises:
            Unreachable: no answer in time.
            CragError: there is none.
        """
        reply = self._send("GET", "/certificate")
        if reply.status == 200 and _PEM in reply.body:
            return reply.body
        raise CragError(
            f"The Trustee at {self.url} offers no certificate for its signer.",
            hint="Give its attestation service a signer certificate; without one, nobody can "
            "verify its tokens.",
            code="no-certificate",
        )

    def challenge(self) -> Challenge:
        """A fresh challenge.

        Raises:
            Unreachable: no answer in time.
            CragError: the service issues none (Trustee up to 1.5.2).
        """
        reply = self._send("POST", "/challenge", {})
        body = reply.json() if reply.status == 200 else {}
        extra: Any = {}
        if isinstance(body, dict):
            extra = body.get("extra-params", body.get("extra_params"))
        token = extra.get("jwt") if isinstance(extra, dict) else None
        nonce = body.get("nonce") if isinstance(body, dict) else None
        if not isinstance(nonce, str) or not isinstance(token, str):
            raise CragError(
                f"The Trustee at {self.url} issues no challenge.",
                hint="Use a Trustee of version 1.6 or later.",
                code="no-challenge",
            )
        return Challenge(nonce, token)

    def attest(
        self,
        tee: str,
        evidence: Mapping[str, Any],
        runtime_data: Mapping[str, Any],
        policy_ids: Sequence[str] = ("default",),
    ) -> str:
        """Have ``evidence`` appraised; returns the token, unverified.

        Args:
            tee: kind of the evidence, for example ``tdx`` or ``sample``.
            evidence: the evidence object.
            runtime_data: what the evidence must be bound to: the service hashes it itself.
            policy_ids: the appraisal policies to apply.

        Raises:
            AttestationRejected: the evidence was refused.
            Unreachable: no answer in time.
            CragError: there is no attestation service at that URL.
        """
        encoded = b64url(json.dumps(evidence, ensure_ascii=False).encode())
        entry = {
            "tee": tee,
            "evidence": encoded,
            "runtime_data": {"structured": dict(runtime_data)},
            "init_data": None,
            "runtime_data_hash_algorithm": "sha384",
        }
        body: dict[str, Any] = {"verification_requests": [entry], "policy_ids": list(policy_ids)}
        reply = self._send("POST", "/attestation", body)
        if reply.status != 200 and b"missing field `tee`" in reply.body:
            # Trustee up to 1.5.2 takes one piece of evidence, without the list around it.
            legacy = {name: value for name, value in entry.items() if name != "init_data"}
            reply = self._send("POST", "/attestation", {**legacy, "policy_ids": list(policy_ids)})
        if reply.status != 200:
            raise self._refused(reply, tee)
        token = reply.body.decode("ascii", "replace").strip()
        if token.count(".") != 2:
            raise CragError(
                f"{reply.url} answered with something that is no token.",
                hint="Check that the URL is a Trustee's.",
                code="not-a-trustee",
            )
        return token

    def policies(self) -> dict[str, str]:
        """Id of each appraisal policy to its SHA-384, base64url, as the service says.

        Raises:
            Unreachable: no answer in time.
            CragError: the service wants an admin, or knows no policies.
        """
        reply = self._administered("GET", "/policy", "the list of policies")
        found = reply.json()
        if not isinstance(found, list):
            raise not_a_trustee(reply)
        try:
            return {str(each["policy-id"]): str(each["policy-hash"]) for each in found}
        except (TypeError, KeyError):
            raise not_a_trustee(reply) from None

    def policy(self, policy_id: str = "default") -> str:
        """The appraisal policy of an id, in Rego.

        Raises:
            Unreachable: no answer in time.
            CragError: there is none, or the service wants an admin.
        """
        subject = f"the attestation policy {policy_id}"
        path = f"/policy/{quote(policy_id, safe='')}"
        return policy_text(self._administered("GET", path, subject))

    def set_policy(self, policy_id: str, rego: str) -> None:
        """Replace the appraisal policy of an id.

        Raises:
            Unreachable: no answer in time.
            CragError: the service cannot use it, or wants an admin.
        """
        subject = f"the attestation policy {policy_id}"
        self._administered("POST", "/policy", subject, policy_body(policy_id, rego))

    def delete_policy(self, policy_id: str) -> None:
        """Delete the appraisal policy of an id.

        Raises:
            Unreachable: no answer in time.
            CragError: there is none, it may not be deleted, or the service wants an admin.
        """
        subject = f"the attestation policy {policy_id}"
        self._administered("DELETE", f"/policy/{quote(policy_id, safe='')}", subject)

    def _administered(self, method: str, path: str, subject: str, body: object = None) -> Reply:
        headers = self._admin.headers() if self._admin is not None else None
        reply = self._send(method, path, body, headers)
        if reply.status != 200:
            raise refusal(reply, subject)
        return reply

    def _refused(self, reply: Reply, tee: str) -> CragError:
        if problem(reply).kind or reply.status == 404:
            return refusal(reply, f"{tee} evidence")
        # Older services answer every refusal with 500 and no type.
        return AttestationRejected(
            f"The Trustee at {reply.url} gave no verdict on {tee} evidence (status "
            f"{reply.status}).",
            hint="Its log says why; nothing is trusted without a verdict.",
            details={"url": reply.url, "status": reply.status},
        )

    def _send(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        deadline = Deadline(self._total)
        return self._http.patient(method, path, json_body=body, headers=headers, deadline=deadline)
