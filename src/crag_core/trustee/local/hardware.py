"""Verification of hardware evidence for this Trustee: TDX quotes, and NVIDIA GPUs with them.

The rules are :class:`crag_core.attestation.policy.Policy`, from ``evidence-policy.json`` in the
Trustee's folder; without that file, its defaults. They come before any Rego: evidence that they
refuse gets no verdict at all.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from crag_core.attestation.anchors import PINNED, Anchors
from crag_core.errors import AttestationRejected, BadInput, NotSupported
from crag_core.trustee.local.collateral import LocalCollateral, NoCollateral
from crag_core.trustee.local.folder import Folder

POLICY = "evidence-policy.json"
NONCE = 32


class NotGenuine(Exception):
    """Evidence that doesn't hold; ``check`` names the rule, ``sentence`` says what was found."""

    def __init__(self, check: str, sentence: str) -> None:
        super().__init__(sentence)
        self.check = check
        self.sentence = sentence


class CannotJudge(Exception):
    """Something that verification needs is missing on this side; ``sentence`` says what."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


@dataclass(frozen=True)
class Proved:
    """What evidence proves: the TD's claims (None where it is about GPUs only), and each GPU's."""

    td: Mapping[str, Any] | None
    gpus: tuple[Mapping[str, Any], ...]
    report_data: str


@dataclass(frozen=True)
class Hardware:
    """The hardware verifiers of one Trustee; ``anchors`` are other than Intel's only in tests."""

    folder: Folder
    collateral: LocalCollateral
    clock: Callable[[], float] = time.time
    anchors: Anchors = PINNED

    def required_gpus(self) -> int:
        """How many GPUs the evidence policy wants."""
        return int(self._policy().gpu.required)

    def tdx(self, evidence: dict[str, Any], expected: bytes) -> Proved:
        """Verify a TDX evidence object over ``expected``, and the GPUs inside it.

        Raises:
            NotGenuine: it is malformed, bound to something else, not genuine, or against the rules.
            CannotJudge: collateral, a policy or a library is missing here.
        """
        from crag_core.attestation.tdx_evidence import verify_tdx_evidence
        from crag_core.trustee.local.tdx_claims import tdx_claims

        quote = _decode(evidence, "quote")
        try:
            found = self.collateral.find(quote)
        except NoCollateral as error:
            raise CannotJudge(error.sentence) from None
        policy = self._policy()
        # GPUs may come as evidence of their own; the caller counts all of them.
        lenient = replace(policy, gpu=replace(policy.gpu, required=0))
        try:
            verdict = verify_tdx_evidence(
                evidence, expected, found, int(self.clock()), lenient, anchors=self.anchors
            )
        except AttestationRejected as error:
            raise NotGenuine("evidence", error.message) from None
        except (BadInput, NotSupported) as error:
            raise CannotJudge(error.message) from None
        failed = verdict.failure
        if failed is not None or verdict.verdict != "affirming":
            name = failed.name if failed else "evidence"
            detail = failed.detail if failed else "Nothing was checked."
            raise NotGenuine(name, detail)
        try:
            claims = tdx_claims(verdict, quote, _logs(evidence))
        except AttestationRejected as error:
            raise NotGenuine("event-log", error.message) from None
        return Proved(claims, _gpus(verdict.gpu), str(verdict.measurements["report_data"]))

    def nvidia(self, evidence: dict[str, Any], expected: bytes) -> Proved:
        """Verify GPU evidence on its own: each report answers to the first half of ``expected``.

        Raises:
            NotGenuine, CannotJudge: as :meth:`tdx`.
        """
        from crag_core.attestation.gpu_evidence import load_gpu_evidence
        from crag_core.attestation.nvidia import examine_gpu
        from crag_core.attestation.rim import verify_rim
        from crag_core.attestation.verdict import Checks

        policy, at, checks = self._policy().gpu, int(self.clock()), Checks()
        try:
            documents = self.collateral.rims()
        except NoCollateral as error:
            raise CannotJudge(error.sentence) from None
        try:
            rims = [verify_rim(text.encode(), self.anchors.nvidia_rim, at) for text in documents]
        except AttestationRejected as error:
            raise CannotJudge(f"A RIM at hand is not usable: {error.message}") from None
        try:
            devices = load_gpu_evidence(_plain(evidence), None)
        except AttestationRejected as error:
            raise NotGenuine("gpu", error.message) from None
        nonce = expected.ljust(NONCE, b"\0")[:NONCE]
        results = [
            examine_gpu(device, nonce, at, policy, rims, checks, self.anchors) for device in devices
        ]
        failed = next((check for check in checks.items if not check.ok), None)
        if failed is not None or not all(result.genuine for result in results):
            name = failed.name if failed else "gpu"
            raise NotGenuine(name, failed.detail if failed else "A GPU is not genuine.")
        return Proved(None, _gpus([result.claims for result in results]), nonce.hex())

    def _policy(self) -> Any:
        from crag_core.attestation.policy import Policy, parse_policy

        text = self.folder.read(POLICY)
        try:
            return Policy() if text is None else parse_policy(text)
        except BadInput as error:
            raise CannotJudge(f"{POLICY}: {error.message}") from None


def _gpus(entries: Any) -> tuple[Mapping[str, Any], ...]:
    from crag_core.trustee.local.gpu_claims import gpu_claims

    return tuple(gpu_claims(entry) for entry in entries)


def _plain(evidence: Mapping[str, Any]) -> bytes:
    """Upstream's GPU evidence as our reader takes it: there the chain may be bare PEM text."""
    devices = evidence.get("device_evidence_list")
    if not isinstance(devices, list):
        raise NotGenuine("gpu", "The GPU evidence has no device_evidence_list.")
    made = []
    for device in devices:
        chain = device.get("certificate") if isinstance(device, dict) else None
        if isinstance(chain, str) and chain.lstrip().startswith("-----BEGIN"):
            device = {**device, "certificate": base64.b64encode(chain.encode()).decode()}
        made.append(device)
    return json.dumps({"device_evidence_list": made}).encode()


def _decode(evidence: Mapping[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(evidence.get(name) or "?", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise NotGenuine("evidence", f"The TDX evidence has no usable {name}.") from None


def _logs(evidence: Mapping[str, Any]) -> list[bytes]:
    """The logs of evidence that was verified, so that they are known to be well-formed."""
    table, text = evidence.get("cc_eventlog"), evidence.get("aa_eventlog")
    logs = [base64.b64decode(table)] if table else []
    return logs + ([text.encode()] if text else [])
