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
from crag_core.trustee.local.verifiers import Reason, Refused, Verified, Verifiers


@dataclass(frozen=True)
class Appraiser:
    """Verifies evidence and judges it by the policy of an id and the reference values."""

    verifiers: Verifiers
    policies: Policies
    references: ReferenceValues

    def submods(
        self,
        items: Sequence[Item],
        policy_id: str,
        runtime_data: Mapping[str, Any] | None,
        cpu: str = CPU,
    ) -> dict[str, Any]:
        """The EAR submodules of one attester's evidence: the CPU's, then ``gpu0``, ``gpu1``...

        Args:
            items: evidence with the report data that it must carry, all of one machine.
            policy_id: the attestation policy to judge by; GPUs are judged by ``<id>_gpu``.
            runtime_data: what the evidence is bound to, as the token shall state it.
            cpu: the name of the CPU's submodule.

        Raises:
            Refused: evidence that is not genuine, not bound, or not understood.
            UnknownPolicy: no policy has that id.
            PolicyError: the policy fails.
        """
        self.policies.attestation_policy(policy_id)
        found = [
            device
            for item in items
            for device in self.verifiers.verify(item.tee, item.evidence, item.expected)
        ]
        if [device.device for device in found].count("cpu") != 1 or found[0].device != "cpu":
            raise Refused(
                Reason.UNSUPPORTED_TEE,
                "The evidence must be of one machine: its CPU first, then its GPUs.",
            )
        self.verifiers.require_gpus(found)
        references = self.references.all()
        made = {cpu: self._judge(found[0], policy_id, references, runtime_data)}
        for index, device in enumerate(found[1:]):
            made[f"gpu{index}"] = self._judge(device, policy_id, references, runtime_data)
        return made

    def _judge(
        self,
        device: Verified,
        policy_id: str,
        references: Mapping[str, list[str]],
        runtime_data: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        appraisal = appraise(
            device,
            policy_id=policy_id,
            policy=self.policies.attestation_policy(policy_id, device.device),
            references=references,
            accept_sample=self.verifiers.accept_sample,
        )
        return submodule(device, appraisal, runtime_data)
