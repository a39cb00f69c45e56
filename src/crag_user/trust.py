"""What the user trusts, and the judgement of a Trustee's verdict by it."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crag_core.errors import AttestationRejected, CragError, UsageError
from crag_core.gateway.config import IngressConfig, pinned_certificates
from crag_core.gateway.endpoint import free_endpoint

if TYPE_CHECKING:
    from crag_core.attestation.ear import EarToken
    from crag_core.attestation.verdict import Verdict

INSECURE_WARNING = (
    "insecure evidence is accepted: it was made by software, anybody can make it, and it proves "
    "nothing about the machine that will read your question. For trying only."
)


@dataclass(frozen=True)
class Trust:
    """The user's own Trustee and what it must say.

    Attributes:
        trustee: its URL as given.
        as_url: the base URL of its Attestation Service.
        anchors: the pinned certificates, PEM, one each.
        policy_id: the policy that a verdict must be made under.
        allow_insecure: whether evidence made by software is accepted.
    """

    trustee: str
    as_url: str
    anchors: tuple[bytes, ...]
    policy_id: str
    allow_insecure: bool

    @classmethod
    def of(cls, trustee: str, certificate: Path, policy_id: str, allow_insecure: bool) -> Trust:
        """Trust as the options name it; reads the certificate file once.

        Raises:
            UsageError: the certificate cannot be read or is none, or the URL is not one.
        """
        from crag_core.trustee.urls import as_base

        try:
            pem = certificate.read_bytes()
        except OSError as error:
            raise UsageError(
                f"The Trustee's certificate {certificate} cannot be read: {error.strerror}.",
                hint="Name the CA certificate of your Trustee with --trustee-certificate FILE; "
                "without it nobody's verdict could be believed.",
            ) from None
        anchors = pinned_certificates(pem, str(certificate))
        return cls(trustee, as_base(trustee), anchors, policy_id, allow_insecure)

    @property
    def anchor_pem(self) -> bytes:
        """All pinned certificates in one PEM text."""
        return b"".join(self.anchors)

    def ingress_config(self) -> IngressConfig:
        """A configuration for TNG's ingress on ports that are free now."""
        return IngressConfig(
            listen=free_endpoint(),
            control=free_endpoint(),
            as_url=self.as_url,
            policy_id=self.policy_id,
            anchors=self.anchors,
        )

    def judge(self, token: str) -> Judgement:
        """Verify a verdict by ourselves: signer, time, policy, status, and who made the evidence.

        Raises:
            AttestationRejected: a rule is broken; ``details["attestation"]`` is the report.
        """
        from crag_core.attestation.ear import verify_ear
        from crag_core.attestation.verdict import Check

        try:
            ear = verify_ear(token, anchor_pem=self.anchor_pem, policy_id=self.policy_id)
        except AttestationRejected as error:
            checks = error.details.get("checks", [])
            raise _with_report(error, rejected(self.policy_id, checks)) from None
        report = ear.verdict()
        accepted = not ear.insecure or self.allow_insecure
        if ear.insecure:
            detail = f"{ear.tee}: made by software, not by a TEE"
            detail += "; accepted because insecure evidence was allowed" if accepted else ""
        else:
            detail = f"{ear.tee}: made by hardware"
        report = replace(report, checks=[*report.checks, Check("hardware", accepted, detail)])
        if not accepted:
            raise _with_report(
                AttestationRejected(
                    f"The service's evidence was made by software ({ear.tee}), not by a TEE.",
                    hint="Nothing that it could read was sent to it. To try crag without hardware, "
                    "and without any protection, add --allow-insecure-evidence.",
                    code="insecure-evidence",
                ),
                report.as_json(),
            )
        return Judgement(ear, report)


@dataclass(frozen=True)
class Judgement:
    """A verdict that holds: the verified token, and the report that people see."""

    ear: EarToken
    report: Verdict

    @property
    def insecure(self) -> bool:
        """Whether the evidence was made by software."""
        return self.ear.insecure

    def measures_as(self, other: Judgement) -> bool:
        """Whether both are about the same software on the same kind of TEE."""
        from crag_user.history import lasting

        mine, theirs = self.report, other.report
        same = lasting(mine.measurements) == lasting(theirs.measurements)
        return same and mine.tee == theirs.tee

    def names_key(self, key: str) -> bool:
        """Whether the evidence is bound to the HPKE public key ``key`` (hex) of the egress."""
        config = self.ear.runtime_data.get("hpke_key_config")
        listed = config.get("encoded_key_config_list") if isinstance(config, dict) else None
        try:
            raw = base64.b64decode(str(listed), validate=True)
            return len(key) >= 64 and bytes.fromhex(key) in raw
        except (ValueError, binascii.Error):
            return False


def rejected(policy_id: str, checks: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of ``crag-user verify`` for a verdict that does not hold."""
    from crag_core.attestation.verdict import Verdict

    report = Verdict(tee="unknown", policy_id=policy_id, checks=()).as_json()
    return {**report, "checks": checks}


def report_of(error: CragError, policy_id: str) -> dict[str, Any]:
    """The report inside a refusal, or one whose only check is the refusal's reason."""
    found = error.details.get("attestation")
    if isinstance(found, dict):
        return found
    reason = str(error.details.get("reason") or error.message)
    return rejected(policy_id, [{"name": "gateway", "ok": False, "detail": reason}])


def _with_report(error: AttestationRejected, report: dict[str, Any]) -> AttestationRejected:
    details = {k: v for k, v in error.details.items() if k != "checks"}
    return AttestationRejected(
        error.message,
        hint=error.hint,
        code=error.code,
        details={**details, "attestation": report},
    )
