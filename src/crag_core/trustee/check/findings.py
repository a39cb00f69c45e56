"""What can be wrong with a Trustee: severity, what an attacker gains, what closes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

Severity = Literal["critical", "high", "medium", "low"]
ORDER: tuple[Severity, ...] = ("critical", "high", "medium", "low")


@dataclass(frozen=True)
class Finding:
    """One hole.

    ``seen``: what was observed, one sentence. ``gains``: what an attacker can do. ``close``: the
    command, or the setting with its file, that closes it.
    """

    id: str
    severity: Severity
    title: str
    gains: str
    close: str
    seen: str = ""

    def as_json(self) -> dict[str, Any]:
        """``{"id", "severity", "title", "seen", "gains", "close"}``."""
        return {
            "id": self.id,
            "severity": self.severity,
            "title": self.title,
            "seen": self.seen,
            "gains": self.gains,
            "close": self.close,
        }


_FIREWALL = (
    "nft add rule inet filter input tcp dport { 8080, 8081, 50003, 50004, 50005 } "
    "ip saddr != ADMIN-AND-ENCLAVE-NETWORK drop"
)
_WRITE_POLICY = (
    "crag-owner trustee policy write --measurement MEASUREMENT.json --resource URI -o DIR && "
    "crag-owner trustee policy apply --from DIR --trustee URL --trustee-admin-key-file FILE"
)

_CATALOGUE = (
    Finding(
        "read-without-token",
        "critical",
        "Resources are served without any token",
        "Reads every key whose name is known or guessed.",
        "Stop the server; run a Trustee whose key broker demands attestation tokens.",
    ),
    Finding(
        "foreign-signer",
        "critical",
        "Tokens signed by anybody's key are believed",
        "Signs a token that claims any measurement with a key of their own, and reads every key "
        "that the resource policy releases to that measurement.",
        "In kbs-config.toml under [attestation_token]: insecure_key = false, "
        'trusted_certs_paths = ["/etc/trustee/as-ca.pem"]; in as-config.json give the signer '
        "key_path and cert_path; then: systemctl restart kbs as-restful as",
    ),
    Finding(
        "sample-evidence",
        "critical",
        "Software-made evidence is affirmed",
        "Claims to be the enclave without having one: every key that it may have is theirs.",
        f"{_WRITE_POLICY}  (without --allow-sample; crag's own Trustee: without "
        "--insecure-accept-sample-evidence)",
    ),
    Finding(
        "sample-appraised",
        "low",
        "Software-made evidence gets tokens, though none that affirm",
        "Nothing by itself; one careless policy makes it the keys.",
        f"{_WRITE_POLICY}",
    ),
    Finding(
        "allow-all-policy",
        "critical",
        "The resource policy releases to workloads that nothing is known of",
        "Reads every key with any attested machine, or with software alone.",
        _WRITE_POLICY,
    ),
    Finding(
        "nothing-pinned",
        "critical",
        "The attestation policy affirms unknown measurements",
        "Runs code of their own on genuine hardware and is taken for the measured workload.",
        _WRITE_POLICY,
    ),
    Finding(
        "debug-affirmed",
        "critical",
        "The attestation policy affirms a TD in debug mode",
        "Whoever runs the host reads the memory of an affirmed enclave.",
        _WRITE_POLICY,
    ),
    Finding(
        "open-attestation-policy",
        "critical",
        "Attestation policies can be written without the admin's key",
        "Replaces the policy by one that affirms everything, then reads every key.",
        _FIREWALL,
    ),
    Finding(
        "open-as-policy",
        "critical",
        "The attestation service's policies can be written without the admin's key",
        "Replaces the policy that users' verdicts rest on: users connect to any server.",
        _FIREWALL,
    ),
    Finding(
        "open-resource-policy",
        "critical",
        "The resource policy can be written without the admin's key",
        "Allows themselves every key.",
        _FIREWALL,
    ),
    Finding(
        "open-resources",
        "critical",
        "Resources can be written without the admin's key",
        "Puts keys of their own in place of the owner's, or destroys them.",
        _FIREWALL,
    ),
    Finding(
        "open-reference-values",
        "critical",
        "Reference values can be written without the admin's key",
        "Adds the measurement of code of their own to those that are affirmed.",
        _FIREWALL,
    ),
    Finding(
        "reference-values-readable",
        "medium",
        "Reference values can be read without the admin's key",
        "Learns which measurement to forge.",
        _FIREWALL,
    ),
    Finding(
        "names-readable",
        "medium",
        "The names of all resources can be read by anybody",
        "Learns which keys there are and whose.",
        _FIREWALL,
    ),
    Finding(
        "policies-readable",
        "low",
        "Attestation policies can be read by anybody",
        "Learns what exactly a policy looks at, and what it does not.",
        _FIREWALL,
    ),
    Finding(
        "audit-readable",
        "medium",
        "The audit log can be read by anybody",
        "Sees who uses which key when, from which address, with which measurement.",
        _FIREWALL,
    ),
    Finding(
        "no-tls",
        "high",
        "The Trustee is reached over plain HTTP",
        "Anybody on the way answers in its place: feeds chosen keys, reads new ones as the owner "
        "sets them, and takes the admin's tokens.",
        "In kbs-config.toml under [http_server]: insecure_http = false, private_key and "
        "certificate; or put a TLS proxy before it and close the plain ports",
    ),
    Finding(
        "old-protocol",
        "high",
        "The old handshake (protocol 0.1.0) is spoken",
        "The key's encryption is not authenticated (RSA PKCS#1 v1.5, header and key unbound), and "
        "evidence of other devices is not bound to the session.",
        "Upgrade to Trustee 1.9 with Trustiflux 1.4 or later (crag's own: without "
        "--legacy-protocol)",
    ),
    Finding(
        "tcb-invisible",
        "high",
        "Policies don't see whether a platform is patched",
        "Breaks an enclave on a machine with known holes, and its tokens look like all others.",
        "Upgrade to Trustee 1.9; until then let users verify quotes themselves: crag-user verify",
    ),
    Finding(
        "gpu-unverified",
        "high",
        "GPU evidence is not verified by this version",
        "Attaches an ordinary GPU, or none, and reads prompts and weights on its bus.",
        "Verify GPUs on the other side: crag-user verify --gpu-report ...; or run crag's or "
        "upstream's Trustee with a policy that wants GPUs (trustee policy write --require-gpu N)",
    ),
    Finding(
        "signer-unverifiable",
        "high",
        "The attestation service has no certificate for its signer",
        "Whoever is on the way to a user's gateway signs verdicts themselves: nothing can be "
        "pinned.",
        "In as-config.json give attestation_token_broker.signer a key_path and cert_path; then: "
        "systemctl restart as-restful",
    ),
    Finding(
        "unbound-evidence",
        "high",
        "The attestation service appraises evidence that is bound to nothing",
        "Replays recorded evidence of a genuine enclave for a session of their own.",
        "Don't use verdicts whose token has no runtime_data_claims; crag's verifiers refuse them",
    ),
    Finding(
        "admin-key-readable",
        "critical",
        "The admin's private key can be read by every user of the Trustee's host",
        "Any program on that host sets policies, reads the audit log and replaces keys.",
        "chmod 600 FILE, then replace the key: it may have been read already",
    ),
    Finding(
        "admin-key-on-host",
        "medium",
        "The admin's private key lies on the Trustee's host",
        "Whoever breaks into the host administers the Trustee from anywhere.",
        "scp FILE to the admin's own machine, then: shred -u FILE",
    ),
)
CATALOGUE = {finding.id: finding for finding in _CATALOGUE}


def found(name: str, seen: str, **fixed: str) -> Finding:
    """The finding ``name`` of the catalogue as it was seen; ``FILE`` and the like filled in."""
    finding = CATALOGUE[name]
    close = finding.close
    for word, value in fixed.items():
        close = close.replace(word, value)
    return replace(finding, seen=seen, close=close)
