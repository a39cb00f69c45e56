"""Who got which key: the audit logs of the Trustees, told in one form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from crag_core.trustee.http import printable

_REGISTERS = ("mr_td", "rtmr_0", "rtmr_1", "rtmr_2", "rtmr_3")


@dataclass(frozen=True)
class Release:
    """One request for a resource.

    ``time``: as the server wrote it (UTC). ``released``: whether it was answered with the key.
    ``who``: what tells the asker from others. ``measurement``: names to hex. ``policy``: id of the
    attestation policy and digest of the resource policy, as far as the server knows them.
    ``insecure``: the evidence was software's. None and empty where the log does not say.
    """

    time: str
    resource: str
    released: bool
    who: Mapping[str, str]
    tee: str = ""
    insecure: bool | None = None
    measurement: Mapping[str, str] = field(default_factory=dict)
    policy: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """One JSON object."""
        return {
            "time": self.time,
            "resource": self.resource,
            "released": self.released,
            "who": dict(self.who),
            "tee": self.tee,
            "insecure": self.insecure,
            "measurement": dict(self.measurement),
            "policy": dict(self.policy),
            "reason": self.reason,
        }


def of_crag(events: Iterable[Mapping[str, Any]]) -> list[Release]:
    """The requests in the log of crag's own Trustee."""
    return [
        Release(
            time=_text(event, "time"),
            resource=_text(event, "resource"),
            released=event.get("event") == "released",
            who=_texts(
                {"key_sha256": event.get("tee_key_sha256"), "token": event.get("token")},
            ),
            tee=_text(event, "tee"),
            insecure=event.get("insecure") is True,
            measurement=_texts(_object(event, "measurement")),
            policy=_texts(_object(event, "policy")),
            reason=_text(event, "reason"),
        )
        for event in events
    ]


def of_gateway(
    requests: Iterable[Mapping[str, Any]], attestations: Iterable[Mapping[str, Any]]
) -> list[Release]:
    """The requests in the log of an openanolis gateway, joined to attestations by session.

    Its records are its own word: it sees cookies and statuses, not keys, and its ``claims`` are not
    verified. A request over the token route has no session, so that nothing is known of it.
    """
    attested: dict[str, Mapping[str, Any]] = {}
    for record in attestations:
        session = _text(record, "session_id")
        if session and record.get("successful") is True:
            attested.setdefault(session, record)
    made = []
    for record in requests:
        if _text(record, "method") != "GET":
            continue
        proof = attested.get(_text(record, "session_id"), {})
        tee, measurement, policy = _claims(_text(proof, "claims", 1 << 20))
        made.append(
            Release(
                time=_text(record, "timestamp"),
                resource="/".join(_text(record, name) for name in ("repository", "type", "tag")),
                released=record.get("successful") is True,
                who=_texts(
                    {
                        name: record.get(name)
                        for name in ("client_ip", "instance_id", "instance_name", "session_id")
                    }
                ),
                tee=tee,
                insecure=tee in ("sample", "sampledevice") if tee else None,
                measurement=measurement,
                policy=policy,
                reason="" if record.get("successful") is True else f"status {record.get('status')}",
            )
        )
    return made


def _claims(text: str) -> tuple[str, dict[str, str], dict[str, str]]:
    """TEE, registers and policy in the claims of a token, EAR or Simple."""
    try:
        claims = json.loads(text)
    except (ValueError, RecursionError):
        return "", {}, {}
    if not isinstance(claims, dict):
        return "", {}, {}
    if "tcb-status" in claims:
        return _simple(claims)
    submods = _object(claims, "submods")
    cpu = _object(submods, "cpu0") or _object(submods, "cpu")
    evidence = _object(cpu, "ear.veraison.annotated-evidence")
    tee = next((kind for kind in ("tdx", "sample", "sampledevice") if kind in evidence), "")
    body = _object(_object(_object(evidence, tee), "quote"), "body")
    found = {name: body.get(name) for name in _REGISTERS}
    found["register"] = _object(evidence, tee).get("measure_register")
    return tee, _texts(found), _texts({"id": cpu.get("ear.appraisal-policy-id")})


def _simple(claims: Mapping[str, Any]) -> tuple[str, dict[str, str], dict[str, str]]:
    try:
        flat = json.loads(str(claims["tcb-status"]))
    except (ValueError, RecursionError):
        flat = {}
    tee = _text(claims, "tee")
    body = flat if isinstance(flat, dict) else {}
    found = {name: body.get(f"{tee}.quote.body.{name}") for name in _REGISTERS}
    reports = claims.get("evaluation-reports")
    first = reports[0] if isinstance(reports, list) and reports else {}
    policy = {"id": first.get("policy-id")} if isinstance(first, dict) else {}
    return tee, _texts(found), _texts(policy)


def _object(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = found.get(name)
    return value if isinstance(value, dict) else {}


def _text(found: Mapping[str, Any], name: str, limit: int = 300) -> str:
    value = found.get(name)
    return printable(value, limit) if isinstance(value, str) else ""


def _texts(found: Mapping[str, Any]) -> dict[str, str]:
    """The members that are non-empty texts, safe for a terminal."""
    return {
        name: printable(value) for name, value in found.items() if isinstance(value, str) and value
    }
