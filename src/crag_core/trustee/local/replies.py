"""Refusals on the wire: the KBS's ``type``/``detail`` and the attestation service's RFC 7807.

TNG takes two texts in a refusal for an old server's and then asks in a weaker way; no answer may
ever hold them, so every body passes :func:`harmless`.
"""

from __future__ import annotations

import json
import re

from starlette.responses import Response

from crag_core.trustee.local.dialect import MANNERS, Version

KBS_ERRORS = "https://github.com/confidential-containers/kbs/errors/"
AS_ERRORS = "https://github.com/confidential-containers/attestation-service/errors/"

_FALLBACKS = re.compile(r"missing\s+field|failed\s+to\s+get\s+inner", re.IGNORECASE)


def harmless(text: str) -> str:
    """``text`` without the phrases that make TNG fall back to a weaker protocol."""
    return _FALLBACKS.sub("refused", text)


class KbsRefusal(Exception):
    """A refusal of the KBS: ``variant`` is its type's name, ``detail`` a sentence."""

    def __init__(self, status: int, variant: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.variant = variant
        self.detail = detail

    def as_spoken(self, version: Version | None) -> KbsRefusal:
        """The same refusal with the status that it has in a version of the protocol."""
        statuses = MANNERS[version].statuses if version is not None else {}
        status = statuses.get(self.variant, self.status)
        return KbsRefusal(status, self.variant, self.detail)

    def response(self) -> Response:
        """The answer in the KBS's shape (it names no content type)."""
        body = {"type": KBS_ERRORS + self.variant, "detail": harmless(self.detail)}
        headers = {"retry-after": "1"} if self.status == 429 else None
        return Response(json.dumps(body), status_code=self.status, headers=headers)


def too_many(what: str) -> KbsRefusal:
    """The refusal of somebody who comes too often; trying again later may help."""
    return KbsRefusal(429, "TooManyRequests", f"Too many {what}; try again later.")


class AsRefusal(Exception):
    """A refusal of the attestation service, as a problem document (RFC 7807)."""

    def __init__(
        self, status: int, code: str, title: str, detail: str, *, retryable: bool = False
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail
        self.retryable = retryable

    def response(self) -> Response:
        """The answer as ``application/problem+json``."""
        body = {
            "type": AS_ERRORS + self.title.replace(" ", ""),
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": harmless(self.detail),
            "retryable": self.retryable,
        }
        headers = {"retry-after": "1"} if self.status == 429 else None
        return Response(
            json.dumps(body),
            status_code=self.status,
            headers=headers,
            media_type="application/problem+json",
        )


def too_many_appraisals() -> AsRefusal:
    """:func:`too_many` as the attestation service says it."""
    return AsRefusal(
        429,
        "AS.REQUEST.TOO_MANY",
        "Too Many Requests",
        "Too many requests; try again later.",
        retryable=True,
    )


def plain(status: int, sentence: str) -> Response:
    """A refusal before any service is reached: limits, hosts, unknown paths."""
    body = {"error": harmless(sentence)}
    # A request that was not read to its end leaves nothing on its connection to go on with.
    headers = {"connection": "close"} if status in (408, 413, 431) else None
    return Response(
        json.dumps(body), status_code=status, media_type="application/json", headers=headers
    )
