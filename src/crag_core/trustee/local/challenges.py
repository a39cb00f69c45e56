"""Challenge tokens: a nonce from this server, signed, five minutes valid, and good for one use.

The key lives as long as the process: what another process or an earlier run issued is refused.
"""

from __future__ import annotations

import base64
import secrets
import threading
import time

from cryptography.hazmat.primitives.asymmetric import ec

from crag_core.trustee.local import jws

LIFETIME = 300
MAX_USED = 100_000
_TYPE = "crag-challenge+jwt"


class Challenges:
    """Issues challenge tokens and accepts each of them once."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}

    def issue(self) -> dict[str, object]:
        """The answer to /challenge: ``{"nonce", "extra-params": {"jwt"}}``."""
        nonce = base64.b64encode(secrets.token_bytes(32)).decode("ascii")
        now = int(time.time())
        claims = {"typ": _TYPE, "nonce": nonce, "iat": now, "exp": now + LIFETIME}
        return {"nonce": nonce, "extra-params": {"jwt": jws.sign({}, claims, self._key)}}

    def use(self, token: object) -> None:
        """Accept a challenge token, this once.

        Raises:
            BadToken: not a token of this process, expired, or used before.
        """
        if not isinstance(token, str):
            raise jws.BadToken("the challenge token is not a string")
        claims = jws.verify(token, self._key.public_key())
        now = time.time()
        jws.check_times(claims, now, leeway=0)
        nonce = claims.get("nonce")
        if claims.get("typ") != _TYPE or not isinstance(nonce, str):
            raise jws.BadToken("the token is not a challenge token")
        with self._lock:
            if nonce in self._used:
                raise jws.BadToken("the challenge token has been used before")
            if len(self._used) >= MAX_USED:
                self._used = {n: end for n, end in self._used.items() if end > now}
            if len(self._used) >= MAX_USED:
                raise jws.BadToken("too many challenge tokens are in use")
            self._used[nonce] = float(claims["exp"])
