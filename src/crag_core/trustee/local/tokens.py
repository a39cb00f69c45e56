"""EAR tokens: issued with the signer's certificate chain, and read back where they unlock keys."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from crag_core.trustee.local import jws
from crag_core.trustee.local.identity import Identity

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
ISSUER = "crag-local-trustee"
ROUTE = "crag.route"
DEFAULT_SECONDS = 300
CPU = "cpu0"

Route = Literal["rcar", "attestation"]


@dataclass(frozen=True)
class Tokens:
    """Issues and verifies this Trustee's tokens; each lives ``seconds`` (300 by default)."""

    identity: Identity
    seconds: int = DEFAULT_SECONDS

    def issue(self, submods: Mapping[str, Any], route: Route) -> tuple[str, dict[str, Any]]:
        """A token over EAR submodules, and its claims.

        ``route`` keeps apart what was attested to the KBS with a nonce of its own (``rcar``) and
        what anybody had appraised (``attestation``): only the former unlocks resources.
        """
        now = int(time.time())
        claims = {
            "eat_profile": PROFILE,
            "iss": ISSUER,
            "iat": now,
            "exp": now + self.seconds,
            "jti": secrets.token_hex(16),
            "ear.verifier-id": {"developer": "crag", "build": "crag-core local Trustee"},
            ROUTE: route,
            "submods": dict(submods),
        }
        return jws.sign({"jwk": self.identity.jwk()}, claims, self.identity.signer_key), claims

    def verify_rcar(self, token: str) -> dict[str, Any]:
        """The claims of a token that this Trustee's KBS issued and that has not expired.

        The key is this Trustee's own; what the token's header brings along is not looked at.

        Raises:
            BadToken: forged, expired, or issued for something else.
        """
        claims = jws.verify(token, self.identity.signer_key.public_key())
        jws.check_times(claims, time.time(), leeway=0)
        if claims.get("eat_profile") != PROFILE or claims.get(ROUTE) != "rcar":
            raise jws.BadToken("the token was not issued by the KBS")
        return claims
