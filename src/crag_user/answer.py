"""Turn a service's reply into an answer that may be shown: shape, receipt, evidence behind it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from typing import Any

from crag_core.attestation.verdict import Check
from crag_core.errors import AttestationRejected, CragError, IntegrityViolated
from crag_core.trustee.jwe import b64url
from crag_user.http import ServiceClient
from crag_user.receipt import b64url_decode, verify_receipt
from crag_user.trust import Judgement, Trust

_CITATION = ("n", "source", "page", "text", "score")
NONCE_BYTES = 32


async def checked(
    client: ServiceClient,
    reply: Mapping[str, Any],
    question: str,
    trust: Trust,
    report: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The object of ``crag-user ask --json`` for ``reply``, after everything in it was verified.

    Args:
        reply: the body of ``POST /rag/query``.
        report: on the service, from the channel that the question took; None where a running
            ``connect`` made that channel.

    Raises:
        AttestationRejected: the evidence behind the receipt was refused.
        IntegrityViolated: the receipt does not hold.
        CragError: the reply has another shape.
    """
    _require_unicode(reply)
    answer, citations = _answer(reply), _citations(reply)
    judgement, key = await _receipt_key(client, trust)
    checks = [_fresh(judgement)]
    if report is not None:
        checks.append(_same_enclave(report, judgement))
    checks += verify_receipt(
        reply.get("receipt"),
        question=question,
        answer=answer,
        citations=citations,
        attested_key=key,
        measurements=judgement.ear.measurements,
    )
    timings = reply.get("timings_ms")
    return {
        "question": question,
        "answer": answer,
        "mode": str(reply.get("mode", "model")),
        "citations": citations,
        "attestation": dict(report or judgement.report.as_json()),
        "receipt": reply["receipt"],
        "verified": [check.as_json() for check in checks],
        "insecure": judgement.insecure,
        "timings_ms": dict(timings) if isinstance(timings, Mapping) else {},
    }


async def _receipt_key(client: ServiceClient, trust: Trust) -> tuple[Judgement, dict[str, Any]]:
    """Have the service bind its receipt key to evidence over a nonce of ours, and appraise that."""
    from crag_core.trustee.as_client import AsClient

    nonce = b64url(os.urandom(NONCE_BYTES))
    shown = await client.json("GET", f"/attestation?nonce={nonce}")
    runtime_data = shown.get("runtime_data")
    key = runtime_data.get("receipt_key") if isinstance(runtime_data, dict) else None
    if not isinstance(key, dict) or runtime_data != {"nonce": nonce, "receipt_key": key}:
        raise AttestationRejected(
            "The service's evidence is not over the nonce that it was asked for.",
            hint="It may be replayed; don't rely on this answer.",
        )
    tee, evidence = str(shown.get("tee")), _evidence(shown)

    def appraise() -> str:
        with AsClient(trust.trustee) as trustee:
            return trustee.attest(tee, evidence, runtime_data, [trust.policy_id])

    judgement = trust.judge(await asyncio.to_thread(appraise))
    if judgement.ear.runtime_data != runtime_data:
        raise AttestationRejected(
            "The Trustee's verdict is not about the key that signs receipts.",
            hint="Check the Trustee; don't rely on this answer.",
        )
    return judgement, key


def _evidence(shown: Mapping[str, Any]) -> dict[str, Any]:
    try:
        evidence = json.loads(b64url_decode(str(shown.get("evidence"))))
    except (ValueError, RecursionError):
        evidence = None
    if not isinstance(evidence, dict):
        raise AttestationRejected(
            "The service shows no evidence for the key that signs receipts.",
            hint="Don't rely on this answer; ask its provider.",
        )
    return evidence


def _fresh(judgement: Judgement) -> Check:
    detail = f"{judgement.report.tee}, over a nonce of ours, appraised now"
    return Check("receipt evidence", ok=True, detail=detail)


def _same_enclave(report: Mapping[str, Any], judgement: Judgement) -> Check:
    if dict(report["measurements"]) != dict(judgement.report.measurements):
        raise IntegrityViolated(
            "The answer is not shown: its receipt comes from another enclave than the one that "
            "was verified.",
            hint="Don't rely on this service until its provider has an answer.",
        )
    return Check("same enclave", ok=True, detail="the gateway's evidence measures the same")


def _require_unicode(reply: Mapping[str, Any]) -> None:
    """Refuse half characters, which JSON can carry and no text can: they have no hash."""
    try:
        json.dumps(dict(reply), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise _wrong_shape() from None


def _answer(reply: Mapping[str, Any]) -> str:
    answer = reply.get("answer")
    if not isinstance(answer, str):
        raise _wrong_shape()
    return answer


def _citations(reply: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = reply.get("citations")
    if not isinstance(listed, list):
        raise _wrong_shape()
    found = []
    for entry in listed:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("text"), str):
            raise _wrong_shape()
        found.append({name: entry.get(name) for name in _CITATION})
    return found


def _wrong_shape() -> CragError:
    return CragError(
        "The service's reply is not an answer with citations.",
        hint="Check that the URL is that of 'crag-provider serve', of this version.",
    )
