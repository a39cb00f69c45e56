"""TNG's configuration as strict types.

TNG 2.12 silently ignores unknown keys inside ``verify`` and ``attest``, where a typing error would
weaken it, so nothing but these classes writes its configuration. There is no way to say ``no_ra``,
``dst_filters`` (unmatched traffic would leave in the clear), RATS-TLS (it resumes sessions and
never notices a revocation) or an unpinned certificate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from crag_core.errors import UsageError
from crag_core.gateway.endpoint import Endpoint, host_of, port_of, require_loopback

_POLICY_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_CERTIFICATE = re.compile(
    rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----", re.ASCII
)
ROTATION_SECONDS = (2, 3600)


def service_url(text: str, what: str) -> str:
    """An http(s) base URL without credentials, query or fragment; no slash at the end.

    Raises:
        UsageError: it is something else; the sentence names ``what``.
    """
    wrong = UsageError(
        f"The {what} is not an http or https URL of a service.",
        hint="Write for example http://127.0.0.1:8081/api.",
    )
    if not text.isascii() or any(c <= " " or c in '"\\<>^`{|}' or c == "\x7f" for c in text):
        raise wrong
    try:
        split = urlsplit(text)
    except ValueError:
        raise wrong from None
    host, colon, port = split.netloc.rpartition(":")
    if not colon or split.netloc.endswith("]"):
        host, port = split.netloc, "80"
    known = split.scheme in ("http", "https") and host_of(host) and port_of(port)
    if not known or "?" in text or "#" in text:
        raise wrong
    return text.rstrip("/")


def pinned_certificates(pem: bytes, where: str) -> tuple[bytes, ...]:
    """Each certificate of a PEM file by itself: TNG reads only the first one of a file.

    Raises:
        UsageError: there is none.
    """
    from cryptography import x509

    found = tuple(_CERTIFICATE.findall(pem))
    try:
        for one in found:
            x509.load_pem_x509_certificate(one)
    except ValueError:
        found = ()
    if not found:
        raise UsageError(
            f"{where} holds no PEM certificate to pin.",
            hint="Give the CA certificate of your Trustee's Attestation Service with "
            "--trustee-certificate.",
        )
    return tuple(one + b"\n" for one in found)


def _control(endpoint: Endpoint) -> dict[str, Any]:
    return {"restful": endpoint.as_config()}


@dataclass(frozen=True, kw_only=True)
class EgressConfig:
    """The provider's side: takes OHTTP at ``listen``, attests, hands plain HTTP to ``backend``.

    Args:
        listen: where users' ingresses connect; the only address that may be non-loopback.
        backend: the service behind it.
        attester_url: the ASR that makes evidence (:mod:`crag_core.attestation.server`).
        control: TNG's own status interface.
        rotation_interval: seconds for which an HPKE key is current; twice that bounds how long a
            user's ingress goes on after a verdict has changed.
        forward_client_ip: whether the backend is told the address of the user's ingress.
    """

    listen: Endpoint
    backend: Endpoint
    attester_url: str
    control: Endpoint
    rotation_interval: int = 30
    forward_client_ip: bool = False

    def __post_init__(self) -> None:
        require_loopback(self.backend, "service behind the gateway")
        require_loopback(self.control, "gateway's control address")
        url = service_url(self.attester_url, "attester's address")
        host, _, port = urlsplit(url).netloc.rpartition(":")
        require_loopback(Endpoint(host.strip("[]"), int(port)), "attester")
        low, high = ROTATION_SECONDS
        if not low <= self.rotation_interval <= high:
            raise UsageError(
                f"A rotation interval of {self.rotation_interval} s is out of range.",
                hint=f"Use {low} to {high} seconds; 30 is the default.",
            )

    @property
    def anchors(self) -> tuple[bytes, ...]:
        """An egress pins nothing: it does not verify, it is verified."""
        return ()

    def document(self, anchor_paths: tuple[str, ...] = ()) -> dict[str, Any]:
        """TNG's JSON document."""
        if anchor_paths:
            raise ValueError("an egress pins no certificate")
        return {
            "control_interface": _control(self.control),
            "add_egress": [
                {
                    "mapping": {"in": self.listen.as_config(), "out": self.backend.as_config()},
                    "ohttp": {
                        "forward_client_ip": self.forward_client_ip,
                        "key": {
                            "source": "self_generated",
                            "rotation_interval": self.rotation_interval,
                        },
                    },
                    "attest": {
                        "model": "background_check",
                        "aa_provider": "coco_asr",
                        "asr_addr": self.attester_url.rstrip("/"),
                    },
                }
            ],
        }


@dataclass(frozen=True, kw_only=True)
class IngressConfig:
    """The user's side: an HTTP proxy that reaches only what its Attestation Service affirms.

    Args:
        listen: the proxy's address, loopback; only the guard may be told of it.
        control: TNG's own status interface, loopback.
        as_url: base of the Attestation Service (``/challenge`` and ``/attestation`` below it).
        policy_id: the one policy id that a token must name.
        anchors: PEM certificates, one each, that must have issued the token's signer.
    """

    listen: Endpoint
    control: Endpoint
    as_url: str
    policy_id: str
    anchors: tuple[bytes, ...]

    def __post_init__(self) -> None:
        require_loopback(self.listen, "ingress's address")
        require_loopback(self.control, "gateway's control address")
        service_url(self.as_url, "address of the Attestation Service")
        if not _POLICY_ID.match(self.policy_id):
            raise UsageError(
                f"{self.policy_id!r} is not a policy id.",
                hint="Use letters, digits, dots, dashes and underscores; 'default' is usual.",
            )
        if not self.anchors or any(len(_CERTIFICATE.findall(a)) != 1 for a in self.anchors):
            raise UsageError(
                "The ingress needs at least one pinned certificate, each by itself.",
                hint="Give the CA certificate of your Trustee with --trustee-certificate.",
            )

    def verify(self, anchor_paths: tuple[str, ...]) -> dict[str, Any]:
        """TNG's ``verify`` arguments, every tag explicit.

        Raises:
            ValueError: not exactly one path for each anchor.
        """
        if len(anchor_paths) != len(self.anchors):
            raise ValueError("one path for each pinned certificate")
        return {
            "model": "background_check",
            "as_provider": "coco",
            "as_type": "restful",
            "as_addr": self.as_url.rstrip("/"),
            "policy_ids": [self.policy_id],
            "trusted_certs_paths": list(anchor_paths),
        }

    def document(self, anchor_paths: tuple[str, ...] = ()) -> dict[str, Any]:
        """TNG's JSON document."""
        return {
            "control_interface": _control(self.control),
            "add_ingress": [
                {
                    "http_proxy": {"proxy_listen": self.listen.as_config()},
                    "ohttp": {},
                    "verify": self.verify(anchor_paths),
                }
            ],
        }
