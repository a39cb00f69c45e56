"""From evidence to claims: one verifier per TEE, each checking what the evidence is bound to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from crag_core.errors import AttestationRejected


class Reason(Enum):
    """Why evidence or a request about it was refused; the wire's codes are made from it."""

    REQUEST = "request"
    UNSUPPORTED_TEE = "unsupported-tee"
    CHALLENGE = "challenge"
    BINDING = "binding"
    EVIDENCE = "evidence"


class Refused(Exception):
    """Evidence is refused; ``sentence`` says why and repeats nothing that the peer sent."""

    def __init__(self, reason: Reason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


@dataclass(frozen=True)
class Verified:
    """What evidence proves: one TEE's claims, and its report data as that TEE writes it."""

    tee: str
    claims: Mapping[str, Any]
    report_data: str
    insecure: bool


Verifier = Callable[[dict[str, Any], bytes], Mapping[str, Any]]


def _sample(evidence: dict[str, Any], expected: bytes) -> Mapping[str, Any]:
    from crag_core.attestation import sample

    return sample.verify(evidence, expected)


@dataclass(frozen=True)
class Verifiers:
    """The verifiers that this Trustee has.

    ``accept_sample``: whether software-made evidence is verified at all; its own word is all that
    stands behind it.
    """

    accept_sample: bool = False

    def verify(self, tee: str, evidence: dict[str, Any], expected: bytes) -> Verified:
        """Verify the ``evidence`` of a ``tee`` that must be bound to ``expected``.

        Args:
            expected: the report data that this Trustee has computed itself, 1 to 64 bytes.

        Raises:
            Refused: no verifier, not acceptable here, bound to something else, or not genuine.
        """
        if tee in ("sample", "sampledevice") and not self.accept_sample:
            raise Refused(
                Reason.EVIDENCE,
                "Sample evidence is made by software and proves nothing; this Trustee accepts it "
                "only when started with --insecure-accept-sample-evidence.",
            )
        if tee != "sample":
            raise Refused(
                Reason.UNSUPPORTED_TEE, "This Trustee has no verifier for that kind of TEE."
            )
        try:
            claims = _sample(evidence, expected)
        except AttestationRejected as error:
            bound = error.code != "binding-mismatch"
            reason = Reason.EVIDENCE if bound else Reason.BINDING
            raise Refused(reason, error.message) from None
        return Verified(tee, claims, str(evidence["report_data"]), insecure=True)
