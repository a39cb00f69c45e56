"""The claims of a verified GPU: what the report says, and what was checked, under NRAS's names.

Upstream's GPU policy reads the names that NVIDIA's remote service gives; only those are set that
were verified here. There is no OCSP: a policy that wants ``x-nvidia-cert-ocsp-status`` gets none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_PREFIX = "x-nvidia-gpu-"


def gpu_claims(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Claims of one entry of a verdict's ``gpu``, every check of which held."""
    rims = entry.get("rim", {})
    matched = all(rims.get(kind) == "matched" for kind in ("vbios", "driver"))
    claims: dict[str, Any] = {
        "genuine": True,
        "model": entry.get("model"),
        "serial": entry.get("serial"),
        "driver_version": entry.get("driver"),
        "vbios_version": entry.get("vbios"),
        "mode": entry.get("mode"),
        "rim": dict(rims),
        f"{_PREFIX}driver-version": entry.get("driver"),
        f"{_PREFIX}vbios-version": entry.get("vbios"),
        f"{_PREFIX}attestation-report-parsed": True,
        f"{_PREFIX}attestation-report-signature-verified": True,
        f"{_PREFIX}attestation-report-nonce-match": True,
        f"{_PREFIX}attestation-report-cert-chain-fwid-match": True,
        f"{_PREFIX}attestation-report-cert-chain": {"x-nvidia-cert-status": "valid"},
    }
    if matched:
        claims["measres"] = "success"
    return claims
