"""What the claims of an EAR token say: kind of evidence, measurements, TCB.

The shapes are those of Trustee: ``submods.<name>["ear.veraison.annotated-evidence"]`` holds the
verifier's claims under the TEE's name, beside what the evidence is bound to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crag_core.attestation.evidence import INSECURE_TEES

ANNOTATED = "ear.veraison.annotated-evidence"
RUNTIME_DATA = "runtime_data_claims"
KNOWN_TEES = INSECURE_TEES | {
    *("tdx", "snp", "sev", "sgx", "csv", "cca", "se", "tpm", "system", "nvidia"),
    *("azsnpvtpm", "aztdxvtpm", "az-snp-vtpm", "az-tdx-vtpm", "hygondcu", "hygontpm"),
}
_TDX_REGISTERS = (
    *("mr_td", "mr_seam", "mrsigner_seam", "mr_config_id", "mr_owner", "mr_owner_config"),
    *("rtmr_0", "rtmr_1", "rtmr_2", "rtmr_3", "td_attributes", "xfam", "tcb_svn"),
)


def annotated(submod: Mapping[str, Any]) -> dict[str, Any]:
    """The annotated evidence of a submodule; empty where it has none."""
    found = submod.get(ANNOTATED)
    return found if isinstance(found, dict) else {}


def tees(submod: Mapping[str, Any]) -> list[str]:
    """The kinds of evidence that a submodule's claims are about, sorted."""
    return sorted(KNOWN_TEES & annotated(submod).keys())


def measurements(tee: str, submod: Mapping[str, Any]) -> dict[str, str]:
    """Registers and measured events as text: name to hex.

    ``sample``: ``measure_register`` and one ``crag.<event>`` for each event of crag's log.
    ``tdx``: the registers of the quote's body, and crag's events where the log has some.
    """
    claims = annotated(submod).get(tee)
    if not isinstance(claims, dict):
        return {}
    found: dict[str, str] = {}
    register = claims.get("measure_register")
    if isinstance(register, str):
        found["measure_register"] = register
    quote = claims.get("quote")
    body = quote.get("body") if isinstance(quote, dict) else None
    if isinstance(body, dict):
        found |= {name: body[name] for name in _TDX_REGISTERS if isinstance(body.get(name), str)}
    events = claims.get("events")
    if isinstance(events, dict):
        found |= {f"crag.{k}": v for k, v in events.items() if isinstance(v, str)}
    return found | _logged(claims)


def _logged(claims: Mapping[str, Any]) -> dict[str, str]:
    log = claims.get("cc_eventlog")
    entries = (log if isinstance(log, dict) else claims).get("uefi_event_logs")
    found: dict[str, str] = {}
    for entry in entries if isinstance(entries, list) else []:
        details = entry.get("details") if isinstance(entry, dict) else None
        data = details.get("data") if isinstance(details, dict) else None
        if not isinstance(data, dict) or data.get("domain") != "crag":
            continue
        name, content = data.get("operation"), data.get("content")
        if isinstance(name, str) and isinstance(content, str):
            found[f"crag.{name}"] = content.removeprefix("sha256:")
    return found


def tcb(tee: str, submod: Mapping[str, Any]) -> dict[str, Any]:
    """What the verifier says of the platform's patch level; empty where it says nothing."""
    claims = annotated(submod).get(tee)
    found = claims.get("tcb_verification") if isinstance(claims, dict) else None
    return dict(found) if isinstance(found, dict) else {}
