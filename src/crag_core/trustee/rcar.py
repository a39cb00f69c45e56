"""The two dialects of the key broker's handshake (request, challenge, attestation, response).

0.4.0 is spoken by Trustee from 1.6.0 on, 0.1.0 by those before, 1.5.2 among them. They differ in
the bodies, in what the report data is the hash of, and in the kind of session key.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from crag_core.trustee import jwe


@dataclass(frozen=True)
class Dialect:
    """One version of the protocol: ``version`` as it is sent, ``key_alg`` of the session key."""

    version: str
    key_alg: str

    def auth_request(self, tee: str) -> dict[str, Any]:
        """The body of ``POST /auth``; an empty string is the one form of parameters for both."""
        return {"version": self.version, "tee": tee, "extra-params": ""}

    def bound(self, nonce: str, jwk: dict[str, str], additional: str) -> dict[str, Any]:
        """The runtime data whose canonical hash the evidence must carry."""
        return {"nonce": nonce, "tee-pubkey": jwk, "additional-evidence": additional}

    def attest_request(
        self, nonce: str, jwk: dict[str, str], evidence: dict[str, Any], additional: str
    ) -> dict[str, Any]:
        """The body of ``POST /attest``."""
        return {
            "init-data": None,
            "runtime-data": {"nonce": nonce, "tee-pubkey": jwk},
            "tee-evidence": {"primary_evidence": evidence, "additional_evidence": additional},
        }


class _Legacy(Dialect):
    def bound(self, nonce: str, jwk: dict[str, str], additional: str) -> dict[str, Any]:
        del additional  # this version carries none
        return {"nonce": nonce, "tee-pubkey": jwk}

    def attest_request(
        self, nonce: str, jwk: dict[str, str], evidence: dict[str, Any], additional: str
    ) -> dict[str, Any]:
        del nonce, additional
        return {"tee-pubkey": jwk, "tee-evidence": json.dumps(evidence, ensure_ascii=False)}


CURRENT = Dialect("0.4.0", jwe.ECDH)
# For a server that has no elliptic curves.
CURRENT_RSA = Dialect("0.4.0", jwe.RSA_OAEP)
LEGACY: Dialect = _Legacy("0.1.0", jwe.RSA_LEGACY)
