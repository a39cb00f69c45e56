"""The scan of one Trustee: each probe asks something that must be refused, and harms nothing.

No probe reads or changes anything that is there: resources are asked for by random names, and what
is written is malformed on purpose, so that the server has to refuse it; what counts is whether it
asked for the admin's key first.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from crag_core.errors import CragError, Unreachable
from crag_core.trustee.check.evidence_probes import probe_policies, probe_sample
from crag_core.trustee.check.findings import ORDER, Finding, found
from crag_core.trustee.check.forged import Forger
from crag_core.trustee.check.host import probe_host
from crag_core.trustee.check.target import Target
from crag_core.trustee.dialects import Server, detect
from crag_core.trustee.http import Deadline, Http, problem
from crag_core.trustee.urls import kbs_bases

# Kinds of refusal by which a server says that it asked who is there before anything else.
_ASKED = frozenset({"AdminAuth", "AdminAuthAccess", "TokenNotFound", "TokenVerifierError"})
_PAST_POLICY = frozenset({"PluginInternalError", "JweError"})


@dataclass
class Report:
    """What a scan found; ``unchecked`` names what could not be asked, and why."""

    url: str
    server: Server
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @property
    def critical(self) -> bool:
        """Whether anything lets an attacker have keys or verdicts."""
        return any(finding.severity == "critical" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The object of ``trustee check --json``."""
        counts = dict.fromkeys(ORDER, 0)
        for finding in self.findings:
            counts[finding.severity] += 1
        return {
            "url": self.url,
            "kind": self.server.kind,
            "server": self.server.title,
            "critical": self.critical,
            "counts": counts,
            "findings": [finding.as_json() for finding in self.findings],
            "unchecked": list(self.unchecked),
        }


def scan(url: str, *, ca: Path | None = None, key_files: tuple[Path, ...] | None = None) -> Report:
    """Look at the Trustee at ``url`` as an attacker on the network would.

    Args:
        ca: PEM file of the authorities to trust where the URL is https.
        key_files: where an admin's private key may lie if the Trustee runs on this machine; by
            default where the vendors and we put it.

    Raises:
        Unreachable: nothing answers.
        CragError: what answers is no Trustee that we know.
    """
    with Http(url, ca=ca) as http:
        server, base = detect(http, kbs_bases(url), Deadline())
        target = Target(http, base, server)
        report = Report(url, server)
        probes: list[tuple[str, Callable[[], list[Finding]]]] = [
            ("transport", lambda: _probe_transport(url)),
            ("version", lambda: _probe_version(target)),
            ("reads without a token", lambda: _probe_reads(target)),
            ("tokens of a foreign signer", lambda: _probe_foreign(target)),
            ("sample evidence", lambda: probe_sample(target)),
            ("policies on made-up claims", lambda: probe_policies(target)),
            ("writes without the admin's key", lambda: _probe_writes(target)),
            ("listings without the admin's key", lambda: _probe_listings(target)),
            ("the signer's certificate", lambda: _probe_signer(target)),
            ("this machine", lambda: probe_host(url, key_files)),
        ]
        for name, probe in probes:
            try:
                report.findings += probe()
            except Unreachable:
                report.unchecked.append(f"{name}: no answer in time")
            except CragError as error:
                report.unchecked.append(f"{name}: {error.message}")
    unique = {finding.id: finding for finding in reversed(report.findings)}
    report.findings = sorted(unique.values(), key=lambda one: (ORDER.index(one.severity), one.id))
    return report


def local(url: str) -> bool:
    """Whether a URL names this machine's loopback interface, where nobody is on the way."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _probe_transport(url: str) -> list[Finding]:
    if url.startswith("https:") or local(url):
        return []
    return [found("no-tls", f"{url} is http, and not on this machine.")]


def _probe_version(target: Target) -> list[Finding]:
    made = []
    title = target.server.title
    legacy = target.post("kbs/v0/auth", {"version": "0.1.0", "tee": "sample", "extra-params": ""})
    if legacy.status == 200:
        made.append(found("old-protocol", "A handshake of version 0.1.0 was opened."))
    if not target.server.shows_tcb:
        made.append(found("tcb-invisible", f"This is {title}, whose claims have no TCB status."))
    if not target.server.verifies_gpus:
        seen = f"This is {title}, which compares measurements and checks no signature."
        made.append(found("gpu-unverified", seen))
    return made


def _nowhere() -> str:
    return f"kbs/v0/resource/default/crag-check/{secrets.token_hex(12)}"


def _probe_reads(target: Target) -> list[Finding]:
    reply = target.get(_nowhere())
    kind = problem(reply).kind
    if reply.status == 200 or kind in _PAST_POLICY or kind == "PolicyDeny":
        return [found("read-without-token", f"A resource was looked for without a token ({kind}).")]
    return []


def _probe_foreign(target: Target) -> list[Finding]:
    believed: list[str] = []
    past: list[str] = []
    for token in Forger().tokens():
        for headers in ({"attestation": token}, {"authorization": f"Bearer {token}"}):
            reply = target.get(_nowhere(), headers)
            kind = problem(reply).kind
            if reply.status == 200 or kind in _PAST_POLICY:
                past.append(kind)
            elif kind in ("PolicyDeny", "PolicyEngine"):
                believed.append(kind)
    made = []
    if believed or past:
        seen = "A token signed with a key made for this check was believed."
        made.append(found("foreign-signer", seen))
    if past:
        seen = "With that token the resource policy let a resource through that nobody allowed."
        made.append(found("allow-all-policy", seen))
    return made


_WRITES = (
    ("open-attestation-policy", "POST", "kbs/v0/attestation-policy", "{}"),
    ("open-resource-policy", "POST", "kbs/v0/resource-policy", "{}"),
    ("open-resources", "POST", "kbs/v0/resource/crag-check", ""),
    ("open-reference-values", "POST", "kbs/v0/rvps/register", '{"message":"crag-check"}'),
    ("open-reference-values", "POST", "kbs/v0/reference-value", "crag-check"),
    ("open-as-policy", "POST", "attestation-service/policy", "{}"),
)


def _probe_writes(target: Target) -> list[Finding]:
    made = []
    for name, method, path, body in _WRITES:
        reply = target.send(method, path, content=body.encode())
        if not target.absent(reply) and problem(reply).kind not in _ASKED:
            seen = f"{method} {path} was judged by its content, nobody asked for a key."
            made.append(found(name, seen))
    gateway = target.send("POST", "rvps/register", content=b'{"message":"crag-check"}')
    if not target.absent(gateway) and problem(gateway).kind not in _ASKED:
        seen = "The gateway's POST rvps/register was judged by its content."
        made.append(found("open-reference-values", seen))
    return made


_LISTINGS = (
    ("names-readable", "kbs/v0/resources"),
    ("policies-readable", "kbs/v0/attestation-policies"),
    ("policies-readable", "attestation-service/policy"),
    ("reference-values-readable", "kbs/v0/rvps/query"),
    ("reference-values-readable", "rvps/query"),
    ("audit-readable", "audit/resources?limit=1"),
    ("audit-readable", "audit/attestation?limit=1"),
)


def _probe_listings(target: Target) -> list[Finding]:
    return [
        found(name, f"GET {path.partition('?')[0]} answered without a key.")
        for name, path in _LISTINGS
        if target.get(path).status == 200
    ]


def _probe_signer(target: Target) -> list[Finding]:
    reply = target.get("attestation-service/certificate")
    if target.absent(reply) and target.server.kind == "upstream":
        return []  # its attestation service is not behind the key broker's address
    if reply.status == 200 and b"BEGIN CERTIFICATE" in reply.body:
        return []
    return [found("signer-unverifiable", f"GET certificate answered {reply.status}.")]
