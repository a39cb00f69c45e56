"""The token by which a Trustee knows its admin: a JWT of two minutes, signed by Ed25519."""

from __future__ import annotations

import time
from collections.abc import Mapping

TOKEN_SECONDS = 120


class AdminToken:
    """Makes a token for each request.

    Args:
        admin_key_pem: the admin's Ed25519 private key, PKCS#8 PEM.
        claims: further claims, as an upstream Trustee may want (``role``, ``iss``, ``aud``); the
            role is ``admin`` unless another one is given.

    Raises:
        BadInput: the key cannot be used.
    """

    def __init__(self, admin_key_pem: bytes, claims: Mapping[str, str] | None = None) -> None:
        from crag_core.trustee.local.identity import load_admin_key

        self._key = load_admin_key(admin_key_pem, "The admin's key")
        self._claims = {"role": "admin", **(claims or {})}

    def headers(self) -> dict[str, str]:
        """The header that carries a fresh token."""
        from crag_core.trustee.local import jws

        now = int(time.time())
        token = jws.sign({}, {**self._claims, "iat": now, "exp": now + TOKEN_SECONDS}, self._key)
        return {"authorization": f"Bearer {token}"}
