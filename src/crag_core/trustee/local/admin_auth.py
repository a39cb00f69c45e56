"""Who may administer: the holder of the admin's Ed25519 key, by a short-lived JWT."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from crag_core.trustee.local import jws

LEEWAY = 60
LONGEST = 24 * 3600
MAX_LENGTH = 8192


def require_admin(authorization: str, key: Ed25519PublicKey) -> None:
    """Check an ``Authorization: Bearer`` header: EdDSA by ``key``, ``exp`` mandatory.

    ``exp`` may lie at most a day ahead; 60 seconds of difference between clocks are forgiven.

    Raises:
        BadToken: anything else; ``none``, HS256 and every other algorithm included.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > MAX_LENGTH:
        raise jws.BadToken("there is no bearer token in the Authorization header")
    claims = jws.verify(token.strip(), key)
    jws.check_times(claims, time.time(), leeway=LEEWAY, longest=LONGEST)
