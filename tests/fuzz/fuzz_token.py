"""Fuzz EAR tokens: three parts, JSON, key, chain, claims. Only what was signed may be accepted."""

from __future__ import annotations

from crag_core.attestation.ear import verify_ear
from fuzz.harness import main
from support.ear_tokens import NOW, Authority

AUTHORITIES = tuple(Authority(algorithm) for algorithm in ("ES256", "ES384", "RS256"))
SEEDS = tuple(authority.token().encode() for authority in AUTHORITIES)
ANCHORS = b"".join(authority.pem for authority in AUTHORITIES)
SIGNED = {seed.rsplit(b".", 1)[0] for seed in SEEDS}


def target(data: bytes) -> None:
    """A refusal, unless header and claims are byte for byte a seed's."""
    text = data.decode("utf-8", "replace")
    ear = verify_ear(text, anchor_pem=ANCHORS, policy_id="default", now=NOW + 1)
    ear.verdict().as_json()
    if data.rsplit(b".", 1)[0] not in SIGNED:
        raise AssertionError("a token that nobody signed was accepted")


if __name__ == "__main__":
    main(target, SEEDS)
