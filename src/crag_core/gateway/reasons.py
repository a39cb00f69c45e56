"""What TNG's error texts mean, as errors of ours.

TNG reports the same chain of causes in three forms: ``head\\n\\nCaused by:\\n  0: ...`` in its log
and from its tools, and joined by ``: `` in the ``message`` of an HTTP answer. Both are read here.
Nothing of a request may reach a message of ours, so text is copied only where it speaks about
attestation; everything else becomes a fixed sentence.
"""

from __future__ import annotations

import json
import re

from crag_core.errors import AttestationRejected, CragError, Unreachable

_LIMIT = 300
# Codes of TNG 2.12 that need no sentence of their own: the channel does not hold.
_CODES = frozenset(
    {
        "BadExpireTimeStamp",
        "ClientGenerateClientKeyFailed",
        "ClientGetAttestationChallengeFaild",
        "ClientGetBackgroundCheckResultFaild",
        "ClientRequestKeyConfigFailed",
        "ClientSelectHpkeConfigurationFailed",
        "ClientVerifyServerAttestationResultFailed",
        "ConnectUpstreamFailed",
        "ConstructHttpResponseFailed",
        "GenServerHpkeConfigurationResponseFailed",
        "HttpCipherTextBadResponse",
        "HttpPlainTextForwardError",
        "InvalidOHttpRequest",
        "InvalidOHttpResponse",
        "InvalidOhttpApiHeaderValue",
        "InvalidRequestPayload",
        "NoActiveKey",
        "RaContextCreationFailed",
        "RejectNonTngRequest",
        "ServerKeyConfigHintNotSpecified",
        "ServerKeyConfigNotFound",
        "ServerVerifyClientGetChallengeTokenFailed",
    }
)
_STATUS = re.compile(
    r"EAR status is not affirming: got (?P<status>[a-z]+) for (?P<submod>[a-z0-9_-]+)"
    r"(?:, trustworthiness: (?P<vector>\{[^{}]*\}))?"
)
_AS_ANSWER = re.compile(
    r"(?P<call>/attestation|/challenge) returned HTTP error.*?status=(?P<status>\d{3})"
    r"(?:, response=(?P<body>.*))?",
    re.DOTALL,
)
_CONNECT = (
    "Connection refused",
    "tcp connect error",
    "dns error",
    "timed out",
    "Connection reset",
    "connection closed",
    "Network is unreachable",
    "No route to host",
    "client error (Connect)",
)


def printable(text: str, limit: int = _LIMIT) -> str:
    """``text`` on one line without control characters, cut to ``limit`` characters."""
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def refusal(text: str, *, service: str, trustee: str) -> CragError:
    """The error for TNG's ``text`` about establishing an attested channel.

    Returns:
        Unreachable where the service or the Trustee does not answer, otherwise
        AttestationRejected with the reason.
    """
    if "challenge" in text and "AS" in text:
        return _no_challenge(text, trustee)
    if "/attestation HTTP request" in text and _is_connect(text):
        return _trustee_down(trustee)
    if "Failed to verify attestation evidence" in text or "attestation token" in text:
        return _rejected(_verdict(text), service)
    if "no attestation_info" in text:
        return _rejected("it does not attest: its answer carries no evidence", service)
    if "key config" in text or "key-config" in text or "KeyConfig" in text:
        return _no_key_config(text, service)
    if _is_connect(text):
        return service_down(service)
    return _rejected("the gateway could not establish an attested channel", service)


def service_down(service: str) -> Unreachable:
    """The service does not take connections."""
    return Unreachable(
        f"{service} does not answer.",
        hint="Check the address, and that the provider's service is up; then try again.",
        details={"service": service},
    )


def _trustee_down(trustee: str, why: str = "does not answer") -> Unreachable:
    return Unreachable(
        f"The Trustee at {trustee} {why}, so nothing can be verified.",
        hint="Start it, or name another one with --trustee; then try again.",
        details={"trustee": trustee},
    )


def _rejected(reason: str, service: str) -> AttestationRejected:
    return AttestationRejected(
        f"{service} is refused: {reason}.",
        hint="Nothing that it could read was sent to it. Ask its provider, or your Trustee's "
        "administrator, what changed.",
        details={"service": service, "reason": reason},
    )


def _is_connect(text: str) -> bool:
    return any(sign in text for sign in _CONNECT)


def _no_challenge(text: str, trustee: str) -> CragError:
    answer = _AS_ANSWER.search(text)
    if answer is not None:
        return _trustee_down(trustee, f"answers {answer['status']} to a request for a challenge")
    return _trustee_down(trustee)


def _no_key_config(text: str, service: str) -> CragError:
    if _is_connect(text):
        return service_down(service)
    status = re.search(r"HTTP status \w+ error \((\d{3})", text)
    if status is not None and status[1].startswith("5"):
        return _rejected(
            f"it could not prove itself (it answers {status[1]} to a request for evidence)", service
        )
    return _rejected("it is not an attesting gateway, or not one of TNG 2.12", service)


def _verdict(text: str) -> str:
    status = _STATUS.search(text)
    if status is not None:
        told = f"the verdict on {status['submod']} is {status['status']}, not affirming"
        return told + _vector(status["vector"])
    answer = _AS_ANSWER.search(text)
    if answer is not None:
        body = _detail(answer["body"] or "")
        return f"the Trustee refused its evidence ({answer['status']}{': ' + body if body else ''})"
    for sign, sentence in (
        ("validated by trust anchor", "the verdict is not signed by the pinned certificate"),
        ("trusted cert is empty", "no certificate is pinned that could check the verdict"),
        ("ExpiredSignature", "the verdict has expired"),
        ("Policy evaluation failed", "the verdict was made under another policy"),
        ("PolicyEvaluationFailed", "the verdict was made under another policy"),
        ("RuntimeDataMismatch", "the verdict is about another channel than this one"),
        ("runtime data", "the verdict is about another channel than this one"),
    ):
        if sign in text:
            return sentence
    return printable(text.rpartition("Failed to verify attestation evidence")[2].lstrip(": \n"))


def _vector(text: str | None) -> str:
    try:
        claims = json.loads(text or "{}")
    except ValueError:
        return ""
    told = ", ".join(f"{name} {value}" for name, value in sorted(claims.items()))
    return f" ({printable(told)})" if told else ""


def _detail(body: str) -> str:
    """The sentence inside an error body of a Trustee (RFC 7807 or crag's own), or the body."""
    try:
        document = json.loads(body)
    except ValueError:
        return printable(body)
    if isinstance(document, dict):
        for key in ("detail", "message", "title", "error"):
            if isinstance(document.get(key), str):
                return printable(document[key])
    return printable(body)


class StaleKey(Unreachable):
    """The egress has a new key: nothing was read by it, and the same request may be sent again."""

    slug = "stale-key"


def answer_error(body: bytes, *, service: str, trustee: str) -> CragError | None:
    """The error that TNG's ingress reports in an HTTP answer, or None if the answer is not TNG's.

    Args:
        body: of an answer with an error status; TNG's is ``{"code", "message"}``.
    """
    try:
        document = json.loads(body)
        code, message = document["code"], document["message"]
    except (ValueError, KeyError, TypeError):
        return None
    if not isinstance(code, str) or not isinstance(message, str):
        return None
    if code == "CreateOHttpClientFailed":
        return refusal(message, service=service, trustee=trustee)
    if code == "ShouldRequestNewKeyConfigFromServerError":
        return StaleKey(
            f"{service} changed its key; it must prove itself again.", hint="Try again."
        )
    if code == "HttpCipherTextForwardError":
        return service_down(service)
    if code == "HttpCipherTextBadResponse" and "HttpPlainTextForwardError" in message:
        return Unreachable(
            f"{service} proved itself, but the service behind its gateway does not answer.",
            hint="Ask its provider, or try again later.",
            details={"service": service},
        )
    return (
        _rejected("its answer was not made for this channel", service) if code in _CODES else None
    )
