"""Dated, signed bundles of collateral, for verifiers without internet. Pure.

A bundle is a JSON object ``{"format", "body", "key", "signature"}``. ``body`` is the JSON text
that ``signature`` (Ed25519, hex) is over, behind ``crag/collateral/v1`` and a NUL; ``key`` says
which key signed and proves nothing: the importer pins the keys it trusts. The body holds
``created`` (unix seconds), ``entries`` (objects as `dcap-qvl` takes them, with the ``ca`` of the
PCK) and ``nvidia_rims`` (texts). Intel's and NVIDIA's own signatures are checked again at each
verification.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.collateral import Collateral, parse_collateral, when
from crag_core.attestation.policy import DAY
from crag_core.errors import BadInput, IntegrityViolated

FORMAT = "crag/collateral/v1"
MAX_BUNDLE = 64 * 1024 * 1024
MAX_AGE = 30 * DAY
CLOCK_SKEW = 300
_HINT = "Export it again on a machine with internet: trustee collateral export."


@dataclass(frozen=True)
class Bundle:
    """A bundle whose signature was verified.

    ``entries``: collateral objects. ``rims``: NVIDIA's RIM documents. ``created``: unix seconds.
    """

    created: int
    entries: Sequence[Mapping[str, Any]]
    rims: Sequence[str] = ()

    def find(self, fmspc: str, tee: str = "tdx", ca: str | None = None) -> dict[str, Any]:
        """The collateral for a platform, with the RIMs, as ``verify_recorded`` takes it.

        Of several, the one that was issued last.

        Raises:
            BadInput: the bundle has none for it.
        """
        found: tuple[Collateral, Mapping[str, Any]] | None = None
        for entry in self.entries:
            parsed = parse_collateral(entry)
            fits = parsed.fmspc == fmspc.upper() and parsed.tee == tee
            if not fits or (ca is not None and entry.get("ca") not in (None, ca)):
                continue
            if found is None or parsed.issued > found[0].issued:
                found = parsed, entry
        if found is None:
            raise BadInput(
                f"The collateral bundle has nothing for FMSPC {fmspc} ({tee}).", hint=_HINT
            )
        return {**found[0].fields, "nvidia_rims": list(self.rims)}


def export_bundle(bundle: Bundle, key: Ed25519PrivateKey) -> bytes:
    """Sign a bundle; the answer is the file's bytes.

    Raises:
        BadInput: an entry is no collateral.
    """
    for entry in bundle.entries:
        parse_collateral(entry)
    body = canonical_json(
        {
            "created": bundle.created,
            "entries": [dict(entry) for entry in bundle.entries],
            "nvidia_rims": list(bundle.rims),
        }
    )
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return canonical_json(
        {
            "format": FORMAT,
            "body": body.decode(),
            "key": public.hex(),
            "signature": key.sign(_signed(body)).hex(),
        }
    )


def import_bundle(
    data: bytes, trusted: Sequence[bytes], at: int, *, max_age: int = MAX_AGE
) -> Bundle:
    """Verify a bundle at unix time ``at`` against the pinned Ed25519 keys (32 bytes each).

    Raises:
        BadInput: it has no usable form, or it is older than ``max_age`` seconds.
        IntegrityViolated: no pinned key signed it.
    """
    if len(data) > MAX_BUNDLE:
        raise BadInput(f"The collateral bundle has {len(data)} bytes, too many.", hint=_HINT)
    outer = _object(data, "bundle")
    if outer.get("format") != FORMAT:
        raise BadInput(f"The collateral bundle's format is not {FORMAT}.", hint=_HINT)
    body, signature = outer.get("body"), outer.get("signature")
    if not isinstance(body, str) or not isinstance(signature, str):
        raise BadInput("The collateral bundle lacks its body or its signature.", hint=_HINT)
    raw = body.encode("utf-8", "replace")
    if not any(_signs(key, signature, raw) for key in trusted):
        raise IntegrityViolated(
            "The collateral bundle is not signed by a key that is trusted here.",
            hint="Pin the public key of who exported it, or get it from them again.",
        )
    return _read(_object(raw, "bundle's body"), at, max_age)


def _signed(body: bytes) -> bytes:
    return FORMAT.encode() + b"\0" + body


def _signs(key: bytes, signature: str, body: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(bytes.fromhex(signature), _signed(body))
    except (InvalidSignature, ValueError):
        return False
    return True


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"The collateral {what} is not a JSON object.", hint=_HINT)
    return found


def _read(body: Mapping[str, Any], at: int, max_age: int) -> Bundle:
    created, entries = body.get("created"), body.get("entries")
    rims = body.get("nvidia_rims")
    if not isinstance(created, int) or isinstance(created, bool):
        raise BadInput("The collateral bundle has no date.", hint=_HINT)
    if at - created > max_age or created - at > CLOCK_SKEW:
        raise BadInput(
            f"The collateral bundle is of {when(created)}, not of the last {max_age // DAY} days "
            f"before {when(at)}.",
            hint=_HINT,
        )
    listed = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    texts = isinstance(rims, list) and all(isinstance(item, str) for item in rims)
    if not listed or not texts:
        raise BadInput("The collateral bundle does not list its entries.", hint=_HINT)
    bundle = Bundle(created, tuple(entries or ()), tuple(rims or ()))
    for entry in bundle.entries:
        parse_collateral(entry)
    return bundle
