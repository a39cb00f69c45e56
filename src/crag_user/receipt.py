"""Verify the receipt of an answer: signed by the enclave, over this question and this answer."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.verdict import Check
from crag_core.errors import IntegrityViolated

FORMAT = "crag/receipt/v1"
DOMAIN = b"crag/receipt/v1\0"


def verify_receipt(
    receipt: object,
    *,
    question: str,
    answer: str,
    citations: Sequence[Mapping[str, Any]] = (),
    attested_key: Mapping[str, Any],
    measurements: Mapping[str, str],
) -> list[Check]:
    """Check a receipt against what was asked, what was answered, and who is attested.

    Args:
        receipt: the service's JSON.
        question: exactly what was sent.
        answer: exactly what came back.
        citations: what came back with it; compared where the receipt speaks of them.
        attested_key: the JWK (OKP, Ed25519) to which fresh evidence is bound.
        measurements: what that evidence measured; the receipt must name one of its values.

    Raises:
        IntegrityViolated: a check fails; the sentence names it.
    """
    checks: list[Check] = []

    def require(name: str, ok: bool, detail: str, failure: str) -> None:
        checks.append(Check(name, ok, detail if ok else failure))
        if not ok:
            raise IntegrityViolated(
                f"The answer is not shown: {failure}.",
                hint="Don't rely on this service until its provider has an answer.",
                code="receipt-invalid",
                details={"checks": [check.as_json() for check in checks]},
            )

    if not isinstance(receipt, Mapping) or receipt.get("format") != FORMAT:
        require("receipt", False, "", f"it came without a receipt of the form {FORMAT}")
        raise AssertionError("a missing receipt was accepted")
    key = receipt.get("key")
    same = isinstance(key, Mapping) and hmac.compare_digest(
        canonical_json(dict(key)), canonical_json(dict(attested_key))
    )
    require(
        "receipt key",
        same,
        "the evidence is bound to the key that signed the receipt",
        "its receipt names another key than the one in the evidence",
    )
    require(
        "receipt signature",
        _signed(receipt, attested_key),
        "Ed25519 over the receipt",
        "the signature of its receipt is wrong",
    )
    for name, text in (("question", question), ("answer", answer)):
        digest = hashlib.sha256(text.encode()).hexdigest()
        told = str(receipt.get(f"{name}_sha256"))
        require(
            f"receipt {name}",
            hmac.compare_digest(told.encode(), digest.encode()),
            f"names exactly this {name}",
            f"its receipt is about another {name}",
        )
    if "citations_sha256" in receipt:
        told = str(receipt["citations_sha256"])
        require(
            "receipt citations",
            hmac.compare_digest(told.encode(), _cited(citations).encode()),
            "names exactly these sources and quotes",
            "its receipt is about other sources or quotes",
        )
    evidence = receipt.get("evidence")
    measured = evidence.get("measurement") if isinstance(evidence, Mapping) else None
    require(
        "receipt measurement",
        isinstance(measured, str) and measured in measurements.values(),
        "names what the evidence measured",
        "its receipt names another measurement than the evidence",
    )
    return checks


def _cited(citations: Sequence[Mapping[str, Any]]) -> str:
    names = ("n", "source", "page", "text")
    content = [{name: one.get(name) for name in names} for one in citations]
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _signed(receipt: Mapping[str, Any], jwk: Mapping[str, Any]) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if jwk.get("kty") != "OKP" or jwk.get("crv") != "Ed25519":
        return False
    body = {name: value for name, value in receipt.items() if name != "signature"}
    try:
        public = Ed25519PublicKey.from_public_bytes(b64url_decode(str(jwk.get("x"))))
        public.verify(b64url_decode(str(receipt.get("signature"))), DOMAIN + canonical_json(body))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def b64url_decode(text: str) -> bytes:
    """Bytes of base64url text without padding.

    Raises:
        ValueError: it is something else.
    """
    if "=" in text or "+" in text or "/" in text:
        raise ValueError("not base64url without padding")
    try:
        padded = text + "=" * (-len(text) % 4)
        return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("not base64url") from error
