"""The attestation service: challenges, and tokens over evidence that anybody brings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crag_core.errors import BadInput
from crag_core.trustee.local import jws
from crag_core.trustee.local.appraiser import Appraiser
from crag_core.trustee.local.challenges import Challenges
from crag_core.trustee.local.codec import Malformed, b64url_decode, read_object
from crag_core.trustee.local.dialect import Item
from crag_core.trustee.local.policies import DEFAULT_ID, UnknownPolicy
from crag_core.trustee.local.posture import STRICT, Posture
from crag_core.trustee.local.rego import PolicyError
from crag_core.trustee.local.replies import AsRefusal
from crag_core.trustee.local.tokens import Tokens
from crag_core.trustee.local.verifiers import Reason, Refused

_BINDING = ("runtime_data", "runtime_data_hash_algorithm", "init_data")
_HASHES = ("sha256", "sha384", "sha512")
_REASONS = {
    Reason.REQUEST: (400, "AS.REQUEST.INVALID_ARGUMENT", "Bad Request"),
    Reason.UNSUPPORTED_TEE: (400, "AS.REQUEST.UNSUPPORTED_TEE", "Bad Request"),
    Reason.CHALLENGE: (401, "AS.CHALLENGE.INVALID_TOKEN", "Unauthorized"),
    Reason.BINDING: (422, "AS.EVIDENCE.BINDING_MISMATCH", "Unprocessable Entity"),
    Reason.EVIDENCE: (422, "AS.EVIDENCE.VERIFICATION_FAILED", "Unprocessable Entity"),
    Reason.DEPENDENCY: (503, "AS.DEPENDENCY.UNAVAILABLE", "Service Unavailable"),
}


@dataclass(frozen=True)
class AttestationService:
    """The attestation service of one Trustee."""

    appraiser: Appraiser
    challenges: Challenges
    tokens: Tokens
    posture: Posture = STRICT

    def challenge(self) -> dict[str, object]:
        """POST /challenge: a nonce and a token that proves that it is fresh."""
        return self.challenges.issue()

    def attest(self, body: bytes) -> str:
        """POST /attestation: a token over the evidence, whatever its verdict is.

        Evidence that is not genuine or not bound to its runtime data gets no token at all.

        Raises:
            AsRefusal: malformed, unbound, not genuine, or a policy that doesn't exist.
        """
        try:
            request = read_object(body)
        except Malformed as error:
            raise AsRefusal(
                400, "AS.REQUEST.INVALID_JSON", "Bad Request", f"The request is {error}."
            ) from None
        try:
            policy_id = _policy_id(request)
            items, runtime = self._items(request)
            submods = self.appraiser.submods(items, policy_id, runtime)
        except Refused as error:
            status, code, title = _REASONS[error.reason]
            later = error.reason is Reason.DEPENDENCY
            raise AsRefusal(status, code, title, error.sentence, retryable=later) from None
        except UnknownPolicy as error:
            status, code, title = _REASONS[Reason.REQUEST]
            raise AsRefusal(status, code, title, f"policy_ids: {error}.") from None
        except PolicyError:
            sentence = "The attestation policy cannot be evaluated on this evidence."
            raise AsRefusal(500, "AS.INTERNAL.ERROR", "Internal Server Error", sentence) from None
        return self.tokens.issue(submods, "attestation")[0]

    def _items(self, request: Mapping[str, Any]) -> tuple[list[Item], dict[str, Any] | None]:
        entries = request.get("verification_requests")
        if entries is None and self.posture.unbound:
            entries = [request]
        if not isinstance(entries, list) or not 1 <= len(entries) <= 16:
            raise Refused(Reason.REQUEST, "verification_requests must be a list of 1 to 16 items.")
        if not all(isinstance(entry, dict) for entry in entries):
            raise Refused(Reason.REQUEST, "A verification request must be an object.")
        # Without runtime data nothing says for whom the evidence was made: never accepted.
        expected, runtime = self._binding(entries[0])
        for entry in entries[1:]:
            if any(entry.get(name) != entries[0].get(name) for name in _BINDING):
                raise Refused(
                    Reason.BINDING,
                    "Each entry needs the runtime_data of the first one; evidence of another "
                    "device that is bound to something else says nothing about this machine.",
                )
        return [Item(_tee(entry), _evidence(entry), expected) for entry in entries], runtime

    def _binding(self, entry: Mapping[str, Any]) -> tuple[bytes, dict[str, Any] | None]:
        """The report data that the evidence must carry, and the runtime data behind it."""
        if entry.get("init_data") is not None:
            raise Refused(Reason.REQUEST, "init_data is not supported by this Trustee.")
        value = entry.get("runtime_data")
        if value is None and self.posture.unbound:
            return b"", None
        if not isinstance(value, dict) or len(value) != 1:
            raise Refused(
                Reason.BINDING,
                "Each entry needs runtime_data, either structured or raw; evidence without it is "
                "bound to nobody.",
            )
        if "structured" in value:
            return self._structured(entry, value["structured"])
        try:
            raw = b64url_decode(value.get("raw"))
        except Malformed:
            raise Refused(Reason.REQUEST, "runtime_data.raw is not base64url.") from None
        if not 1 <= len(raw) <= 64:
            raise Refused(Reason.REQUEST, "runtime_data.raw must have 1 to 64 bytes.")
        return raw, None

    def _structured(self, entry: Mapping[str, Any], claims: object) -> tuple[bytes, dict[str, Any]]:
        from crag_core.attestation.canonical import canonical_json

        if not isinstance(claims, dict) or not claims:
            raise Refused(Reason.REQUEST, "runtime_data.structured must be an object with members.")
        algorithm = entry.get("runtime_data_hash_algorithm") or "sha384"
        if algorithm not in _HASHES:
            raise Refused(
                Reason.REQUEST, f"runtime_data_hash_algorithm must be one of {', '.join(_HASHES)}."
            )
        if "challenge_token" in claims:
            try:
                self.challenges.use(claims["challenge_token"])
            except jws.BadToken as error:
                raise Refused(Reason.CHALLENGE, f"challenge_token: {error}.") from None
        try:
            return hashlib.new(algorithm, canonical_json(claims)).digest(), claims
        except BadInput:
            raise Refused(Reason.REQUEST, "runtime_data has no canonical JSON form.") from None


def _policy_id(request: Mapping[str, Any]) -> str:
    found = request.get("policy_ids", [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Refused(Reason.REQUEST, "policy_ids must be a list of strings.")
    if len(found) > 1:
        raise Refused(Reason.REQUEST, "policy_ids: a token states one policy; ask for one id.")
    return found[0] if found else DEFAULT_ID


def _tee(entry: Mapping[str, Any]) -> str:
    tee = entry.get("tee")
    if not isinstance(tee, str):
        raise Refused(Reason.REQUEST, "tee must be the name of a kind of TEE.")
    return tee


def _evidence(entry: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return read_object(b64url_decode(entry.get("evidence")))
    except Malformed as error:
        raise Refused(Reason.REQUEST, f"evidence is {error}.") from None
