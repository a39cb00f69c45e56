"""The RCAR protocol: what its two requests hold and what the evidence must be bound to.

0.4.0 is what Trustee speaks from 1.6 on, 0.1.0 what it spoke up to 1.5.2. Everything that differs
between them is in this module: bodies, bindings, session keys, names and statuses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from crag_core.trustee.local.codec import Malformed, read_object

Version = Literal["0.4.0", "0.1.0"]
CURRENT: Version = "0.4.0"
LEGACY: Version = "0.1.0"
NONCE_BYTES = 32
# Members of a JWK that the server's own types have; others are dropped before hashing.
_JWK_MEMBERS = {"EC": ("alg", "crv", "kty", "x", "y"), "RSA": ("alg", "e", "kty", "n")}
_TEE = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


@dataclass(frozen=True)
class Manner:
    """How a version answers: the CPU's submodule, and the statuses that differ from 4xx ones."""

    cpu: str
    statuses: Mapping[str, int] = field(default_factory=dict)


MANNERS: Mapping[Version, Manner] = {
    CURRENT: Manner("cpu0"),
    # Trustee 1.5.2 answers so; clients of that time tell refusals by these.
    LEGACY: Manner("cpu", {"AttestationError": 500, "PluginInternalError": 500}),
}


@dataclass(frozen=True)
class Opening:
    """POST /auth: who asks, in which version."""

    tee: str
    version: Version = CURRENT


@dataclass(frozen=True)
class Item:
    """Evidence of one TEE and the report data that it must carry."""

    tee: str
    evidence: dict[str, Any]
    expected: bytes


@dataclass(frozen=True)
class Attestation:
    """POST /attest: the key to encrypt to, and evidence, the session's own TEE first."""

    tee_pubkey: dict[str, str]
    runtime_data: dict[str, Any]
    items: tuple[Item, ...]


class VersionMismatch(Malformed):
    """The client speaks another version of the protocol."""


def challenge(nonce: bytes) -> dict[str, str]:
    """The answer to /auth; the nonce is used as this base64 string ever after."""
    return {"nonce": base64.b64encode(nonce).decode("ascii"), "extra-params": ""}


def read_opening(body: bytes, versions: Sequence[Version] = (CURRENT,)) -> Opening:
    """The request of /auth; ``versions`` are those that are spoken, the first one by preference.

    Raises:
        VersionMismatch: a version that is not spoken.
        Malformed: another shape.
    """
    found = read_object(body)
    version, tee = found.get("version"), found.get("tee")
    if not isinstance(version, str) or not isinstance(tee, str) or "extra-params" not in found:
        raise Malformed("deserialize Request")
    if version not in versions:
        shown = version if re.fullmatch(r"[0-9.]{1,16}", version, re.ASCII) else "unreadable"
        wanted = versions[0]
        raise VersionMismatch(
            f"KBS Client Protocol Version Mismatch: expect ={wanted} while the request is {shown}"
        )
    if not _TEE.fullmatch(tee):
        raise Malformed("deserialize Request")
    if version == CURRENT:
        return Opening(tee)
    if not isinstance(found["extra-params"], str):
        raise Malformed("deserialize Request")
    return Opening(tee, LEGACY)


def read_attestation(
    body: bytes, *, tee: str, nonce: str, version: Version = CURRENT
) -> Attestation:
    """The request of /attest in a session of ``tee`` with ``nonce``.

    Raises:
        Malformed: another shape, another nonce, init-data (which nothing here could check), or a
            key that no resource could be encrypted to in this version.
    """
    found = read_object(body)
    return _legacy(found, tee, nonce) if version == LEGACY else _current(found, tee, nonce)


def _current(found: Mapping[str, Any], tee: str, nonce: str) -> Attestation:
    runtime, evidence = found.get("runtime-data"), found.get("tee-evidence")
    if not isinstance(runtime, dict) or not isinstance(evidence, dict):
        raise Malformed("runtime-data and tee-evidence must be objects")
    if found.get("init-data") is not None:
        raise Malformed("init-data is not supported")
    echoed = runtime.get("nonce")
    if not isinstance(echoed, str) or not hmac.compare_digest(echoed.encode(), nonce.encode()):
        raise Malformed("the nonce is not this session's")
    key = _public_key(runtime.get("tee-pubkey"))
    if key["alg"] == "RSA1_5":
        raise Malformed("RSA1_5 is a key of protocol 0.1.0; use ECDH-ES+A256KW or RSA-OAEP-256")
    primary, more = evidence.get("primary_evidence"), evidence.get("additional_evidence", "")
    if not isinstance(primary, dict) or not isinstance(more, str):
        raise Malformed("primary_evidence must be an object, additional_evidence a string")
    bound = {"nonce": nonce, "tee-pubkey": key}
    claims = {**bound, "additional-evidence": more}
    items = [Item(tee, primary, _hash(claims))]
    for other, value in (read_object(more) if more else {}).items():
        if not _TEE.fullmatch(other) or not isinstance(value, dict):
            raise Malformed("additional_evidence must map TEEs to objects")
        items.append(Item(other, value, _hash(bound)))
    return Attestation(key, claims, tuple(items))


def _legacy(found: Mapping[str, Any], tee: str, nonce: str) -> Attestation:
    """0.1.0: evidence is a string of JSON, nobody echoes the nonce, and only RSA1_5 is known."""
    text = found.get("tee-evidence")
    if not isinstance(text, str):
        raise Malformed("tee-evidence must be a string")
    key = _public_key(found.get("tee-pubkey"))
    if key["alg"] != "RSA1_5":
        raise Malformed("tee-pubkey must be an RSA key for RSA1_5")
    claims = {"nonce": nonce, "tee-pubkey": key}
    return Attestation(key, claims, (Item(tee, read_object(text), _hash(claims)),))


def _public_key(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise Malformed("tee-pubkey must be a JWK")
    members = _JWK_MEMBERS.get(str(value.get("kty")))
    if members is None or not all(isinstance(value.get(name), str) for name in members):
        raise Malformed("tee-pubkey must be an EC or RSA key with alg")
    return {name: value[name] for name in members}


def _hash(value: Mapping[str, Any]) -> bytes:
    from crag_core.attestation.canonical import canonical_json

    return hashlib.sha384(canonical_json(dict(value))).digest()
