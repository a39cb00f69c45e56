"""From evidence to claims: one verifier per TEE, each checking what the evidence is bound to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from crag_core.errors import AttestationRejected
from crag_core.trustee.local.hardware import CannotJudge, Hardware, NotGenuine, Proved
from crag_core.trustee.local.posture import sample_anything

Class = Literal["cpu", "gpu"]


class Reason(Enum):
    """Why evidence or a request about it was refused; the wire's codes are made from it."""

    REQUEST = "request"
    UNSUPPORTED_TEE = "unsupported-tee"
    CHALLENGE = "challenge"
    BINDING = "binding"
    EVIDENCE = "evidence"
    DEPENDENCY = "dependency"


class Refused(Exception):
    """Evidence is refused; ``sentence`` says why and repeats no text that the peer sent."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


@dataclass(frozen=True)
class Verified:
    """What evidence proves about one device: its claims, and its report data as that TEE writes it.

    ``tee`` is its name on the wire, ``device`` the class of device it is about.
    """

    tee: str
    claims: Mapping[str, Any]
    report_data: str
    insecure: bool = False
    device: Class = "cpu"


@dataclass(frozen=True)
class Verifiers:
    """The verifiers that this Trustee has: ``tdx``, ``nvidia`` and, where accepted, ``sample``.

    ``accept_sample``: whether software-made evidence is verified at all; its own word is all that
    stands behind it. ``believe_sample``: not even its event log is wanted, as with the vendor's.
    """

    hardware: Hardware
    accept_sample: bool = False
    believe_sample: bool = False

    def verify(self, tee: str, evidence: dict[str, Any], expected: bytes) -> list[Verified]:
        """Verify the ``evidence`` of a ``tee`` that must be bound to ``expected``.

        Args:
            expected: the report data that this Trustee has computed itself, 1 to 64 bytes.

        Returns:
            One entry for each device: the CPU first where the evidence is about one.

        Raises:
            Refused: no verifier, not acceptable here, bound to something else, or not genuine.
        """
        if tee in ("sample", "sampledevice") and not self.accept_sample:
            raise Refused(
                Reason.EVIDENCE,
                "Sample evidence is made by software and proves nothing; this Trustee accepts it "
                "only when started with --insecure-accept-sample-evidence.",
            )
        if tee == "sample":
            claims = sample_anything(evidence, expected) if self.believe_sample else None
            if claims is not None:
                return [Verified("sample", claims, str(evidence["report_data"]), insecure=True)]
            return [_sample(evidence, expected)]
        try:
            if tee == "tdx":
                return _devices(self.hardware.tdx(evidence, expected))
            if tee == "nvidia":
                return _devices(self.hardware.nvidia(evidence, expected))
        except NotGenuine as error:
            bound = error.check == "report-data" or error.check.endswith("-nonce")
            reason = Reason.BINDING if bound else Reason.EVIDENCE
            if bound:
                raise Refused(
                    reason, f"The evidence is bound to something else (check '{error.check}')."
                ) from None
            raise Refused(reason, f"{error.sentence} (check '{error.check}')") from None
        except CannotJudge as error:
            raise Refused(Reason.DEPENDENCY, error.sentence) from None
        raise Refused(Reason.UNSUPPORTED_TEE, "This Trustee has no verifier for that kind of TEE.")

    def require_gpus(self, found: list[Verified]) -> None:
        """Check that there are the GPUs that the evidence policy wants, each once.

        Raises:
            Refused: too few, or one GPU answers for several.
        """
        names = [entry.claims.get("serial") for entry in found if entry.device == "gpu"]
        if len(set(names)) != len(names):
            raise Refused(Reason.EVIDENCE, "One GPU answered in the place of several.")
        try:
            wanted = self.hardware.required_gpus()
        except CannotJudge as error:
            raise Refused(Reason.DEPENDENCY, error.sentence) from None
        if len(names) < wanted:
            raise Refused(
                Reason.EVIDENCE, f"The policy wants {wanted} GPU(s), {len(names)} answered."
            )


def _sample(evidence: dict[str, Any], expected: bytes) -> Verified:
    from crag_core.attestation import sample

    try:
        claims = sample.verify(evidence, expected)
    except AttestationRejected as error:
        bound = error.code != "binding-mismatch"
        reason = Reason.EVIDENCE if bound else Reason.BINDING
        raise Refused(reason, error.message) from None
    return Verified("sample", claims, str(evidence["report_data"]), insecure=True)


def _devices(proved: Proved) -> list[Verified]:
    found = [] if proved.td is None else [Verified("tdx", proved.td, proved.report_data)]
    gpus = [Verified("nvidia", gpu, proved.report_data, device="gpu") for gpu in proved.gpus]
    return found + gpus
