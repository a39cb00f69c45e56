"""Claims of one enclave as each Trustee's policies get them, in the recorded shapes.

Sources: openanolis/trustee v1.5.2 (``tdx/claims.rs``, ``token/simple.rs``), v1.9.0 (real log of an
Alibaba Cloud TD, ``CCEL_AAEL_alibabacloud_out.json``), confidential-containers/trustee 78962cd.
"""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

from crag_core.attestation.measurement import Measurement
from support.td import Td
from support.trustee import measurement

HEADER = {
    "version": "0400",
    "att_key_type": "0200",
    "tee_type": "81000000",
    "reserved": "00000000",
    "vendor_id": "939a7233f79c4ca9940a0db3957f0607",
    "user_data": "00" * 20,
}


def attested() -> dict[str, Any]:
    """What 'crag-provider attest --json' prints in the TD."""
    workload = measurement()
    return {
        "tee": "tdx",
        "reference_values": workload.reference_values(),
        "evidence": Td(workload).evidence(b"\x01" * 48),
    }


def body() -> dict[str, str]:
    """The fields of the TD's quote under the Trustees' names."""
    from crag_core.attestation.quote import parse_quote
    from crag_core.trustee.pins import REGISTERS

    quote = parse_quote(base64.b64decode(attested()["evidence"]["quote"]))
    fields = {name: quote.fields[ours].hex() for name, ours in REGISTERS.items()}
    return {**fields, "rtmr_3": quote.fields["rtmr3"].hex(), "report_data": "00" * 64}


def tagged(workload: Measurement, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A recorded log, and crag's events after it as the fork's parser writes AAEL events."""
    made = []
    for entry in workload.entries:
        content = f"sha256:{entry.content_digest.hex()}"
        data = {"domain": "crag", "operation": entry.name, "content": content}
        digest = workload.event_reference_values()[f"crag.{entry.name}.event"][1]
        made.append(
            {
                "type_name": "EV_EVENT_TAG",
                "index": 4,
                "digests": [{"alg": "SHA-384", "digest": digest}],
                "details": {
                    "unicode_name": "AAEL",
                    "string": f"crag {entry.name} {content}",
                    "data": data,
                },
                "event": base64.b64encode(entry.data()).decode(),
            }
        )
    return [*log, *made]


RECORDED_FORM = [
    {
        "details": {"string": "TdxTable"},
        "digests": [{"alg": "SHA-384", "digest": "95" * 48}],
        "event": "CVRkeA==",
        "index": 1,
        "type_name": "EV_EFI_HANDOFF_TABLES2",
    },
    {
        "type_name": "EV_EVENT_TAG",
        "index": 4,
        "digests": [{"alg": "SHA-384", "digest": "77" * 48}],
        "details": {
            "unicode_name": "AAEL",
            "string": "cryptpilot.alibabacloud.com load_config {}",
            "data": {
                "domain": "cryptpilot.alibabacloud.com",
                "operation": "load_config",
                "content": "{}",
            },
        },
        "event": "",
    },
]


def old(workload: Measurement | None = None) -> dict[str, Any]:
    """openanolis 1.5.2 with EAR tokens."""
    aael = {
        f"crag/{entry.name}": [f"sha256:{entry.content_digest.hex()}"]
        for entry in (workload or measurement()).entries
    }
    ccel = {"measurement.kernel.SHA384": "ab" * 48, "kernel_cmdline": "grub_cmd linux"}
    quote = {"header": HEADER, "body": body()}
    return {"tdx": {"quote": quote, "aael": aael, "ccel": ccel}, "report_data": "00" * 64}


def simple() -> dict[str, Any]:
    """openanolis 1.5.2 with Simple tokens: the same, flattened."""
    flat: dict[str, Any] = {"report_data": "00" * 64, "init_data": "00" * 48}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            for name, member in value.items():
                walk(member, f"{path}.{name}")
        else:
            flat[path] = value

    walk(old()["tdx"], "tdx")
    return flat


def fork(log: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """openanolis 1.9.0."""
    tdx = {
        "quote": {"header": HEADER, "body": body()},
        "uefi_event_logs": tagged(measurement(), RECORDED_FORM if log is None else log),
        "tcb_verification": {
            "tcb_status": "UpToDate",
            "tcb_status_code": 0,
            "collateral_expired": False,
            "earliest_issue_date": 1795000000,
            "latest_issue_date": 1795000000,
            "earliest_expiration_date": 1797000000,
            "tcb_level_date_tag": 1790000000,
            "tcb_eval_ref_num": 20,
            "advisory_ids": "",
            "tee_type": 129,
        },
    }
    return {"tdx": tdx, "report_data": "00" * 64, "init_data": "00" * 48}


def upstream() -> dict[str, Any]:
    """confidential-containers."""
    made = fork()["tdx"]
    del made["tcb_verification"]
    for event in made["uefi_event_logs"]:
        event["digest_matches_event"] = True
    tdx = {
        **made,
        "td_attributes": {"debug": False, "septve_disable": True},
        "tcb_status": "UpToDate",
        "tcb_date": "2026-01-01T00:00:00Z",
        "advisory_ids": [],
        "collateral_expiration_status": "0",
    }
    return {"tdx": tdx, "report_data": "00" * 64, "init_data": "00" * 48}


def ear(evidence: dict[str, Any], cpu: str = "cpu0", status: str = "affirming") -> dict[str, Any]:
    """The claims of an EAR token about ``evidence``, as a resource policy gets them."""
    submod = {
        "ear.status": status,
        "ear.appraisal-policy-id": "default",
        "ear.trustworthiness-vector": {"hardware": 2, "executables": 3},
        "ear.veraison.annotated-evidence": evidence,
    }
    profile = "tag:github.com,2024:confidential-containers/Trustee"
    return {"eat_profile": profile, "submods": {cpu: submod}}


def simple_token(flat: dict[str, Any]) -> dict[str, Any]:
    """The claims of a Simple token."""
    return {
        "iss": "CoCo-Attestation-Service",
        "tee": "tdx",
        "evaluation-reports": [{"policy-id": "default", "policy-hash": "00" * 48}],
        "tcb-status": json.dumps(flat),
        "customized_claims": {"init_data": None, "runtime_data": {}},
    }


def changed(evidence: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one member replaced; ``None`` takes it away."""
    made = copy.deepcopy(evidence)
    place = made
    for step in path[:-1]:
        place = place[step]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return made
