"""Fuzz tokens, EAR and Simple: form, JSON, key, chain, claims. Only what was signed counts."""

from __future__ import annotations

from crag_core.attestation.ear import verify_ear
from crag_core.attestation.simple_token import verify_simple
from crag_core.errors import AttestationRejected
from fuzz.harness import main
from support import trustee_claims
from support.ear_tokens import NOW, Authority

AUTHORITIES = tuple(Authority(algorithm) for algorithm in ("ES256", "ES384", "RS256"))
SIMPLE = Authority("RS384")
CLAIMS = trustee_claims.simple_token(trustee_claims.simple())
CLAIMS |= {"iat": NOW, "nbf": NOW, "exp": NOW + 300}
CLAIMS["customized_claims"]["runtime_data"] = {"nonce": "n", "tee-pubkey": {}}
SEEDS = (
    *(authority.token().encode() for authority in AUTHORITIES),
    SIMPLE.token(CLAIMS).encode(),
)
ANCHORS = b"".join(authority.pem for authority in (*AUTHORITIES, SIMPLE))
SIGNED = {seed.rsplit(b".", 1)[0] for seed in SEEDS}


def target(data: bytes) -> None:
    """A refusal by both, unless header and claims are byte for byte a seed's."""
    text = data.decode("utf-8", "replace")
    try:
        ear = verify_ear(text, anchor_pem=ANCHORS, policy_id="default", now=NOW + 1)
    except AttestationRejected:
        found = verify_simple(text, anchor_pem=ANCHORS, policy_id="default", now=NOW + 1)
        found.verdict().as_json()
    else:
        ear.verdict().as_json()
    if data.rsplit(b".", 1)[0] not in SIGNED:
        raise AssertionError("a token that nobody signed was accepted")


if __name__ == "__main__":
    main(target, SEEDS)
