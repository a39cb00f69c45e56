"""A policy's text as Trustees carry it: base64url without padding, perhaps in JSON quotes."""

from __future__ import annotations

import base64
import binascii

from crag_core.trustee.http import Reply
from crag_core.trustee.jwe import b64url
from crag_core.trustee.refusals import not_a_trustee


def policy_body(policy_id: str, rego: str) -> dict[str, str]:
    """What is posted to set an attestation policy."""
    return {"type": "rego", "policy_id": policy_id, "policy": policy_encoded(rego)}


def policy_encoded(rego: str) -> str:
    """``rego`` in the form that every server takes."""
    return b64url(rego.encode())


def policy_text(reply: Reply) -> str:
    """The Rego in an answer.

    Raises:
        CragError: it is something else.
    """
    text = reply.body.decode("ascii", "replace").strip().strip('"')
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        raise not_a_trustee(reply) from None
