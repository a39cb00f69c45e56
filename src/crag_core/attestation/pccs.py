"""Where collateral comes from: a PCCS or Intel's PCS (API version 4). The only I/O of this area.

What is fetched is not trusted: every part is signed by Intel and judged when a quote is verified.
Source: Intel SGX and TDX Provisioning Certification Service API, version 4.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

from crag_core.attestation.collateral import parse_collateral
from crag_core.errors import BadInput, CragError

_TCB_HEADERS = ("tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain")
_QE_HEADER = "sgx-enclave-identity-issuer-chain"
_CRL_HEADER = "sgx-pck-crl-issuer-chain"


class CollateralSource(Protocol):
    """Anything that has collateral: a service, a cache, an imported bundle."""

    def fetch(self, fmspc: str, ca: str, tee: str) -> dict[str, Any]:
        """Collateral for a platform: FMSPC (12 hex digits), PCK CA (``platform`` or
        ``processor``), TEE (``tdx`` or ``sgx``)."""


def platform_of(quote: bytes) -> tuple[str, str, str]:
    """FMSPC, PCK CA and TEE of a quote, for :meth:`CollateralSource.fetch`. Nothing is verified.

    Raises:
        BadInput: it is no quote with a PCK chain.
        NotSupported: `dcap-qvl` is not installed.
    """
    from crag_core.attestation.tdx import quote_platform

    found = quote_platform(quote)
    if found is None:
        raise BadInput(
            "The quote does not say which platform it is from.",
            hint="Give a TDX quote with its PCK certificate chain.",
        )
    return found


class PccsSource:
    """A PCCS by its URL (``https://host:8081/sgx/certification/v4`` or without the path).

    Args:
        url: its base.
        ca: PEM file of the authorities to trust for https, instead of the system's.
    """

    def __init__(self, url: str, *, ca: Path | None = None) -> None:
        base = url.rstrip("/")
        for ending in ("/sgx/certification/v4", "/tdx/certification/v4"):
            base = base.removesuffix(ending)
        self.base = base
        self._ca = ca

    def fetch(self, fmspc: str, ca: str, tee: str) -> dict[str, Any]:
        """See :class:`CollateralSource`.

        Raises:
            Unreachable: the service does not answer in time.
            CragError: it refuses, or leaves out something.
            BadInput: an argument or what it answers has no usable form.
        """
        if ca not in ("platform", "processor") or tee not in ("tdx", "sgx"):
            raise BadInput(f"There is no collateral of PCK CA {ca!r} for {tee!r}.")
        if len(fmspc) != 12 or any(digit not in "0123456789ABCDEFabcdef" for digit in fmspc):
            raise BadInput("An FMSPC has 12 hex digits.")
        from crag_core.trustee.http import Http

        with Http(self.base, ca=self._ca) as http:
            crl = self._get(http, f"/sgx/certification/v4/pckcrl?ca={ca}&encoding=der")
            root = self._get(http, "/sgx/certification/v4/rootcacrl")
            info = self._get(http, f"/{tee}/certification/v4/tcb?fmspc={fmspc}")
            identity = self._get(http, f"/{tee}/certification/v4/qe/identity")
        tcb_text, tcb_signature = _split(info.body, "tcbInfo")
        qe_text, qe_signature = _split(identity.body, "enclaveIdentity")
        found = {
            "pck_crl_issuer_chain": _chain(crl.headers, (_CRL_HEADER,)),
            "root_ca_crl": _hex(root.body),
            "pck_crl": _hex(crl.body),
            "tcb_info_issuer_chain": _chain(info.headers, _TCB_HEADERS),
            "tcb_info": tcb_text,
            "tcb_info_signature": tcb_signature,
            "qe_identity_issuer_chain": _chain(identity.headers, (_QE_HEADER,)),
            "qe_identity": qe_text,
            "qe_identity_signature": qe_signature,
            "ca": ca,
        }
        parse_collateral(found)
        return found

    def _get(self, http: Any, path: str) -> Any:
        reply = http.request("GET", path)
        if reply.status != 200:
            raise CragError(
                f"The collateral service {self.base} answers {path.partition('?')[0]} with "
                f"{reply.status}.",
                hint="Check its URL, and that it knows this platform.",
                code="collateral-refused",
            )
        return reply


def _chain(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    for name in names:
        if name in headers:
            return unquote(headers[name])
    raise CragError(
        f"The collateral service leaves out the header {names[0]}.", code="collateral-incomplete"
    )


def _hex(body: bytes) -> str:
    """A CRL as hex; a PCCS gives the root's as hex text, the PCS as DER."""
    text = body.strip()
    try:
        return bytes.fromhex(text.decode("ascii")).hex()
    except ValueError:
        return body.hex()


def _split(body: bytes, member: str) -> tuple[str, str]:
    """The signed text exactly as it was sent, and its signature in hex.

    Intel signs the member's own bytes, so parsing and writing it again would break the signature.
    """
    text = body.decode("utf-8", "replace").strip()
    start = f'{{"{member}":'
    try:
        value, end = json.JSONDecoder().raw_decode(text, len(start))
        signature = json.loads(text)["signature"]
        usable = text.startswith(start) and isinstance(value, dict)
        usable = usable and bool(bytes.fromhex(signature))
    except (ValueError, KeyError, TypeError, RecursionError):
        usable, end, signature = False, 0, ""
    if not usable:
        raise CragError(
            f"The collateral service answers something else than a signed {member}.",
            code="collateral-incomplete",
        )
    return text[len(start) : end], signature
