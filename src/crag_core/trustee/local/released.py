"""What an attested session or token says, for encrypting to its key and for the audit log."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from crag_core.trustee.local.policies import digest
from crag_core.trustee.local.resources import ResourceName

_CPUS = ("cpu0", "cpu")
_REGISTERS = ("mr_td", "rtmr_0", "rtmr_1", "rtmr_2", "rtmr_3")
_GPU = ("model", "serial", "driver_version", "vbios_version")


def _cpu(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(
        claims["submods"][name] for name in _CPUS if name in claims["submods"]
    )
    return found


def _evidence(submod: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = submod["ear.veraison.annotated-evidence"]
    return found


def tee_pubkey(claims: Mapping[str, Any]) -> Mapping[str, str]:
    """The key that the evidence is bound to."""
    found: Mapping[str, str] = _evidence(_cpu(claims))["runtime_data_claims"]["tee-pubkey"]
    return found


def facts_of(
    name: ResourceName, claims: Mapping[str, Any], scope: str, policy: str
) -> dict[str, Any]:
    """What the audit log says of a request: digests and names, nothing that unlocks anything."""
    cpu = _cpu(claims)
    evidence = _evidence(cpu)
    tee = next((kind for kind in ("tdx", "sample") if kind in evidence), "other")
    key = json.dumps(tee_pubkey(claims), sort_keys=True, separators=(",", ":"))
    submods = claims["submods"].values()
    return {
        "resource": str(name),
        "tee": tee,
        "insecure": tee == "sample",
        "measurement": _measurement(evidence.get(tee, {})),
        "gpus": [
            {member: _evidence(submod)["nvidia"].get(member) for member in _GPU}
            for submod in submods
            if "nvidia" in _evidence(submod)
        ],
        "status": cpu["ear.status"],
        "policy": {
            "id": cpu["ear.appraisal-policy-id"],
            "scope": scope,
            "resource_sha384": digest(policy),
        },
        "token": claims["jti"],
        "tee_key_sha256": hashlib.sha256(key.encode()).hexdigest(),
    }


def _measurement(claims: Mapping[str, Any]) -> dict[str, str]:
    body = claims.get("quote", {}).get("body", {})
    register = claims.get("measure_register", "")
    found = {name: body[name] for name in _REGISTERS if name in body}
    return {**(found or {"register": register}), **claims.get("events", {})}
