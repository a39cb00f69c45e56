"""The verdict on recorded evidence: quote, event log and GPU under one policy, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crag_core.attestation.anchors import PINNED, Anchors
from crag_core.attestation.collateral import parse_collateral
from crag_core.attestation.event_checks import examine_events
from crag_core.attestation.gpu_evidence import load_gpu_evidence
from crag_core.attestation.nvidia import ExaminedGpu, examine_gpu
from crag_core.attestation.policy import Policy
from crag_core.attestation.quote import Quote
from crag_core.attestation.rim import Rim, verify_rim
from crag_core.attestation.tdx import Examined, examine_quote
from crag_core.attestation.verdict import Checks, Verdict
from crag_core.errors import BadInput

NONCE = 32
RIMS_MEMBER = "nvidia_rims"
_MAX_RIMS = 256


def verify_recorded(
    quote: bytes,
    collateral: Mapping[str, Any],
    at: int,
    event_log: bytes | None = None,
    gpu_report: bytes | None = None,
    gpu_certs: bytes | None = None,
    gpu_nonce: bytes | None = None,
    policy: Policy | None = None,
    *,
    agent_log: bytes | None = None,
    anchors: Anchors = PINNED,
) -> Verdict:
    """Judge evidence as of unix time ``at``.

    Args:
        quote: a TDX quote as the hardware gave it.
        collateral: what ``dcap_qvl.QuoteCollateralV3`` reads, with an optional further member
            ``nvidia_rims``, a list of RIM documents (texts). Empty: there is none.
        event_log: a CCEL table, or a text AAEL.
        gpu_report, gpu_certs: see :func:`crag_core.attestation.gpu_evidence.load_gpu_evidence`.
        gpu_nonce: 32 bytes the GPU was challenged with; without it, the GPU must answer to the
            first 32 bytes of the quote's report data.
        agent_log: a text AAEL beside a CCEL, where the TD keeps two.
        policy: the rules; None is :class:`Policy`'s defaults.
        anchors: trust anchors; only tests give others than the pinned ones.

    Returns:
        The verdict; bad evidence is a failed check, never an exception.

    Raises:
        BadInput: the collateral has no usable form, or the nonce does not have 32 bytes.
        NotSupported: `dcap-qvl` is not installed.
    """
    policy = policy or Policy()
    checks = Checks()
    stated = parse_collateral(collateral) if set(collateral) - {RIMS_MEMBER} else None
    examined = examine_quote(quote, stated, at, policy.quote, checks, anchors)
    logs = [] if event_log is None else [event_log]
    logs += [] if agent_log is None else [agent_log]
    examine_events(examined.quote, logs, policy.events, checks)
    gpus = _check_gpus(
        examined, gpu_report, gpu_certs, gpu_nonce, collateral, at, policy, checks, anchors
    )
    genuine = examined.genuine and examined.quote is not None
    return Verdict(
        tee=examined.tee,
        policy_id=policy.id,
        checks=tuple(checks.items),
        measurements=examined.quote.measurements() if genuine and examined.quote else {},
        tcb=examined.tcb,
        gpu=gpus,
    )


def _check_gpus(
    examined: Examined,
    report: bytes | None,
    certificates: bytes | None,
    nonce: bytes | None,
    collateral: Mapping[str, Any],
    at: int,
    policy: Policy,
    checks: Checks,
    anchors: Anchors,
) -> list[Mapping[str, Any]]:
    if report is None:
        if policy.gpu.required:
            detail = f"The policy wants {policy.gpu.required} GPU(s), there is no GPU evidence."
            checks.add("gpu", False, detail)
        return []
    bound = _expected_nonce(examined.quote, nonce, policy, checks)
    if bound is None:
        return []
    with checks.step("gpu"):
        found = load_gpu_evidence(report, certificates)
        checks.add(
            "gpu",
            len(found) >= policy.gpu.required,
            f"{len(found)} GPU(s), the policy wants {policy.gpu.required} or more",
        )
        rims = _rims(collateral, anchors, at, checks)
        results = [
            examine_gpu(item, bound[0], at, policy.gpu, rims, checks, anchors) for item in found
        ]
        _check_distinct(results, checks)
        return [{**result.claims, "bound": bound[1]} for result in results]
    return []


def _expected_nonce(
    quote: Quote | None, nonce: bytes | None, policy: Policy, checks: Checks
) -> tuple[bytes, bool] | None:
    """The nonce that GPUs must answer to, and whether it ties them to the quote."""
    if nonce is not None and len(nonce) != NONCE:
        raise BadInput(
            f"The GPU's nonce has {len(nonce)} bytes, not {NONCE}.", hint="Give 64 hex digits."
        )
    tied = quote.report_data[:NONCE] if quote is not None else None
    if nonce is None:
        if tied is None:
            checks.add("gpu-binding", False, "There is no quote that the GPU could be bound to.")
            return None
        checks.add("gpu-binding", True, "The GPU must answer to the quote's report data")
        return tied, True
    if nonce == tied:
        checks.add("gpu-binding", True, "The nonce given is the quote's report data")
        return nonce, True
    detail = "The nonce was given: fresh for who gave it, but it does not tie the GPU to this TD"
    checks.add("gpu-binding", not policy.gpu.require_binding, detail)
    return nonce, False


def _rims(collateral: Mapping[str, Any], anchors: Anchors, at: int, checks: Checks) -> list[Rim]:
    documents = collateral.get(RIMS_MEMBER, [])
    if not isinstance(documents, list) or len(documents) > _MAX_RIMS:
        raise BadInput(f"The collateral's {RIMS_MEMBER} is not a list of at most {_MAX_RIMS}.")
    found = []
    for number, document in enumerate(documents):
        if not isinstance(document, str):
            raise BadInput(f"The collateral's {RIMS_MEMBER}[{number}] is no text.")
        with checks.step(f"rim {number}"):
            rim = verify_rim(document.encode("utf-8", "replace"), anchors.nvidia_rim, at)
            checks.add(f"rim {number}", True, f"{rim.kind} {rim.version}, signed by NVIDIA")
            found.append(rim)
    return found


def _check_distinct(results: Sequence[ExaminedGpu], checks: Checks) -> None:
    names = [result.identity for result in results if result.genuine]
    if len(names) > 1:
        ok = len(set(names)) == len(names)
        detail = f"{len(names)} devices" if ok else "One GPU answered in the place of several."
        checks.add("gpu-distinct", ok, detail)
