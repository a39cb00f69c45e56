"""The key broker: RCAR handshake, then resources to whom the resource policy allows them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.trustee.local import dialect, jwe_encrypt, jws
from crag_core.trustee.local.appraiser import Appraiser
from crag_core.trustee.local.audit import Audit
from crag_core.trustee.local.codec import Malformed
from crag_core.trustee.local.policies import DEFAULT_ID, Policies, UnknownPolicy
from crag_core.trustee.local.posture import STRICT, Posture, claims_by_own_key
from crag_core.trustee.local.rego import PolicyError, evaluate
from crag_core.trustee.local.released import facts_of, tee_pubkey
from crag_core.trustee.local.replies import KbsRefusal, too_many
from crag_core.trustee.local.resources import IllegalName, ResourceName, Resources
from crag_core.trustee.local.sessions import Session, Sessions, TooMany
from crag_core.trustee.local.tokens import Tokens
from crag_core.trustee.local.verifiers import Refused

ATTEST_FAILED = "Attestation error: RCAR handshake Attest failed"
AUTH_FAILED = "Attestation error: RCAR handshake Auth failed"


@dataclass(frozen=True)
class Credentials:
    """What a request for a resource brings: a session's id, or a token in one of two headers."""

    session_id: str = ""
    attestation: str = ""
    bearer: str = ""


@dataclass(frozen=True)
class Kbs:
    """The key broker of one Trustee."""

    sessions: Sessions
    appraiser: Appraiser
    tokens: Tokens
    resources: Resources
    policies: Policies
    audit: Audit
    posture: Posture = STRICT

    def auth(self, body: bytes) -> tuple[Session, dict[str, str]]:
        """POST /auth: a new session and its challenge.

        Raises:
            KbsRefusal: a malformed request, another version, or too many sessions.
        """
        try:
            session = self.sessions.open(dialect.read_opening(body, self.posture.versions))
        except Malformed as error:
            refusal = KbsRefusal(401, "AttestationError", f"{AUTH_FAILED}: {error}")
            raise refusal.as_spoken(self.posture.versions[0]) from None
        except TooMany:
            raise too_many("sessions") from None
        return session, {"nonce": session.nonce, "extra-params": ""}

    def attest(self, session_id: str, body: bytes) -> str:
        """POST /attest: verify evidence bound to the session's nonce and key; a token.

        The nonce is spent by this, and a failure ends the session.

        Raises:
            KbsRefusal: no such session, or evidence that is refused.
        """
        session = self.sessions.spend(session_id)
        if session is None:
            raise _attest_failed("the session is unknown, over, or has been used already")
        version = session.version
        try:
            request = dialect.read_attestation(
                body, tee=session.tee, nonce=session.nonce, version=version
            )
            submods = self.appraiser.submods(
                request.items, DEFAULT_ID, request.runtime_data, dialect.MANNERS[version].cpu
            )
        except Refused as error:
            self.sessions.end(session)
            raise _attest_failed(error.sentence).as_spoken(version) from None
        except (Malformed, PolicyError, UnknownPolicy) as error:
            self.sessions.end(session)
            why = str(error) if isinstance(error, Malformed) else "the policy cannot be evaluated"
            raise _attest_failed(why).as_spoken(version) from None
        token, claims = self.tokens.issue(submods, "rcar")
        self.sessions.attested(session, claims)
        return token

    def release(self, path: str, credentials: Credentials) -> dict[str, str]:
        """GET /resource/...: the resource encrypted to the attested key.

        Order: token, policy, resource; so a refusal by the policy hides what there is.

        Raises:
            KbsRefusal: no or a bad token, an illegal name, a policy that says no, no resource.
        """
        try:
            return self._release(path, credentials)
        except KbsRefusal as refusal:
            version = self.sessions.version(credentials.session_id)
            raise refusal.as_spoken(version) from None

    def _release(self, path: str, credentials: Credentials) -> dict[str, str]:
        claims = self._claims(credentials)
        try:
            name = ResourceName.parse(path)
        except IllegalName:
            raise KbsRefusal(404, "PluginInternalError", "Plugin internal error") from None
        scope, policy = self.policies.deciding(name)
        facts = facts_of(name, claims, scope, policy)
        if not self._allowed(name, claims, policy):
            self.audit.record("refused", refusal=True, reason="policy", **facts)
            raise KbsRefusal(403, "PolicyDeny", "Access denied by policy")
        data = self.resources.get(name)
        if data is None:
            self.audit.record("refused", refusal=True, reason="no such resource", **facts)
            raise KbsRefusal(404, "PluginInternalError", "Plugin internal error")
        try:
            sealed = jwe_encrypt.encrypt(tee_pubkey(claims), data)
        except jwe_encrypt.UnsupportedKey as error:
            raise KbsRefusal(400, "JweError", f"JWE failed: {error}") from None
        self.audit.record("released", **facts)
        return sealed

    def _claims(self, credentials: Credentials) -> Mapping[str, Any]:
        attested = self.sessions.claims(credentials.session_id)
        token = credentials.attestation or credentials.bearer
        try:
            if attested is not None:
                jws.check_times(attested, time.time(), leeway=0)
                return attested
            if token and self.posture.any_signer:
                found = claims_by_own_key(token)
                jws.check_times(found, time.time(), leeway=60)
                return {"jti": "", **found}
            if token:
                return self.tokens.verify_rcar(token)
        except jws.BadToken:
            raise KbsRefusal(401, "TokenVerifierError", "Token Verifier error") from None
        raise KbsRefusal(401, "TokenNotFound", "Attestation Token not found")

    def _allowed(self, name: ResourceName, claims: Mapping[str, Any], policy: str) -> bool:
        data = {"resource-path": f"resource/{name}"}
        try:
            return evaluate(policy, ["allow"], claims, data).get("allow") is True
        except PolicyError:
            raise KbsRefusal(500, "PolicyEngine", "Policy engine error") from None


def _attest_failed(why: str) -> KbsRefusal:
    return KbsRefusal(401, "AttestationError", f"{ATTEST_FAILED}: {why}")
