"""Evidence to verdict in one place, for the KBS and the attestation service alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crag_core.trustee.local.appraisal import appraise, submodule
from crag_core.trustee.local.dialect import Item
from crag_core.trustee.local.policies import Policies
from crag_core.trustee.local.reference_values import ReferenceValues
from crag_core.trustee.local.tokens import CPU
from crag_core.trustee.local.verifiers import Reason, Refused, Verifiers


@dataclass(frozen=True)
class Appraiser:
    """Verifies evidence and judges it by the policy of an id and the reference values."""

    verifiers: Verifiers
    policies: Policies
    references: ReferenceValues

    def submods(
        self, items: Sequence[Item], policy_id: str, runtime_data: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """The EAR submodules of one attester's evidence.

        Args:
            items: evidence with the report data that it must carry; one machine, one TEE.
            policy_id: the attestation policy to judge by.
            runtime_data: what the evidence is bound to, as the token shall state it.

        Raises:
            Refused: evidence that is not genuine, not bound, or not understood.
            UnknownPolicy: no policy has that id.
            PolicyError: the policy fails.
        """
        policy = self.policies.attestation_policy(policy_id)
        if len(items) != 1:
            raise Refused(
                Reason.UNSUPPORTED_TEE,
                "This Trustee verifies the evidence of one TEE; it has no verifier for additional "
                "evidence.",
            )
        verified = self.verifiers.verify(items[0].tee, items[0].evidence, items[0].expected)
        appraisal = appraise(
            verified,
            policy_id=policy_id,
            policy=policy,
            references=self.references.all(),
            accept_sample=self.verifiers.accept_sample,
        )
        return {CPU: submodule(verified, appraisal, runtime_data)}
