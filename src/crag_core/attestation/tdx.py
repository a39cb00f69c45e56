"""Verification of TDX quotes under an explicit policy. Pure: no clock, no network, no files.

The cryptography is `dcap-qvl`'s: quote signature, QE report and identity, PCK chain and revocation
lists, TCB level, each at the time given. It accepts some things that we don't (stale TCB levels,
bytes that no signature covers); what follows it here is our part.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crag_core.attestation.anchors import INTEL_ROOT_SHA256, PINNED, Anchors
from crag_core.attestation.collateral import Collateral, when
from crag_core.attestation.policy import DAY, UP_TO_DATE, QuotePolicy
from crag_core.attestation.quote import Quote, parse_quote, tee_of
from crag_core.attestation.verdict import Checks
from crag_core.errors import AttestationRejected, NotSupported

# TD attributes, Intel TDX Module ABI specification, "ATTRIBUTES": bits 0-7 make a TD untrusted.
_UNTRUSTED = 0xFF
_SEPT_VE_DISABLE = 1 << 28
_MIGRATABLE = 1 << 29
MAX_TIME = 1 << 40


@dataclass(frozen=True)
class Examined:
    """What the examination of a quote found.

    ``quote``: its structure, or None where it has none. ``genuine``: Intel's chain signed it.
    ``tcb``: status, advisories, FMSPC and the collateral's dates; empty unless genuine.
    """

    tee: str
    quote: Quote | None = None
    genuine: bool = False
    tcb: Mapping[str, Any] = field(default_factory=dict)


def examine_quote(
    raw: bytes,
    collateral: Collateral | None,
    at: int,
    policy: QuotePolicy,
    checks: Checks,
    anchors: Anchors = PINNED,
) -> Examined:
    """Check a quote at unix time ``at``; every rule becomes a line of ``checks``.

    Nothing is raised for bad evidence. Checks, in this order: ``quote-format``, ``debug``,
    ``collateral``, ``signature``, ``tcb``, ``quote-end``, ``attributes``, and one for each
    measurement. An SGX quote is judged by signature and TCB, then refused by ``tee``.

    Raises:
        NotSupported: `dcap-qvl` is not installed.
    """
    tee = tee_of(raw)
    quote = None
    if tee == "sgx":
        checks.add("quote-format", True, "SGX quote, read by the verifier alone")
    else:
        with checks.step("quote-format"):
            quote = parse_quote(raw)
            _check_root(quote, anchors)
            checks.add("quote-format", True, f"TDX quote version {quote.version}")
    if quote is not None:
        _check_debug(quote, checks)
    if tee == "unknown" or not _check_collateral(raw, collateral, at, policy, checks):
        return Examined(tee, quote)
    assert collateral is not None  # noqa: S101 - _check_collateral has refused None
    verified = None
    with checks.step("signature"):
        found = _dcap(raw, collateral, at, anchors)
        if quote is not None:
            _compare(quote, found)
        checks.add("signature", True, "Intel's chain signed the quote, nothing in it is revoked")
        verified = found
    tcb = _tcb(verified, collateral) if verified is not None else {}
    if verified is not None:
        _check_tcb(verified, policy, checks)
    if quote is not None:
        _check_content(quote, policy, checks)
    elif tee == "sgx":
        checks.add("tee", False, "This is the quote of an SGX enclave; only a TD is accepted.")
    return Examined(tee, quote, verified is not None, tcb)


def _check_root(quote: Quote, anchors: Anchors) -> None:
    """No verifier reads the root that a quote brings along; so it must be the pinned one."""
    wanted = INTEL_ROOT_SHA256
    if anchors.intel_root is not None:
        wanted = hashlib.sha256(anchors.intel_root).digest()
    if hashlib.sha256(quote.chain[-1]).digest() != wanted:
        raise AttestationRejected("The quote's chain does not end at Intel's root certificate.")


def _check_debug(quote: Quote, checks: Checks) -> None:
    attributes = int.from_bytes(quote.fields["td_attributes"], "little")
    if attributes & _UNTRUSTED:
        checks.add("debug", False, "The TD runs in debug mode: its host can read its memory.")
    else:
        checks.add("debug", True, "The TD is not a debug TD")


def _check_collateral(
    raw: bytes, collateral: Collateral | None, at: int, policy: QuotePolicy, checks: Checks
) -> bool:
    """One line ``collateral``: there, for this platform, of this time, new enough."""
    if collateral is None:
        return checks.add(
            "collateral", False, "There is no collateral to verify the quote's signature with."
        )
    why = ""
    if not 0 <= at < MAX_TIME:
        why = f"The time {at} is no unix time."
    elif at < collateral.issued:
        why = f"The collateral was issued on {when(collateral.issued)}, after {when(at)}."
    elif at > collateral.expires:
        why = f"The collateral has expired on {when(collateral.expires)}, before {when(at)}."
    elif at - collateral.issued > policy.max_collateral_age:
        why = (
            f"The collateral is {(at - collateral.issued) // DAY} days old, the policy allows "
            f"{policy.max_collateral_age // DAY}."
        )
    elif collateral.evaluation < policy.minimum_evaluation:
        why = (
            f"The collateral has TCB evaluation number {collateral.evaluation}, the policy wants "
            f"{policy.minimum_evaluation} or more."
        )
    else:
        platform = quote_platform(raw)
        if platform and platform[0] != collateral.fmspc:
            why = f"The collateral is for FMSPC {collateral.fmspc}, the quote's is {platform[0]}."
    if why:
        return checks.add("collateral", False, why)
    found = f"FMSPC {collateral.fmspc}, valid until {when(collateral.expires)}"
    return checks.add("collateral", True, found)


def _qvl() -> Any:
    try:
        return importlib.import_module("dcap_qvl")
    except ImportError:
        raise NotSupported(
            "Quotes cannot be verified here: the package dcap-qvl is not installed.",
            hint="pip install 'crag-core[tdx]'",
        ) from None


def quote_platform(raw: bytes) -> tuple[str, str, str] | None:
    """FMSPC (upper-case hex), PCK CA and TEE that a quote names; None if it is unreadable.

    Nothing is verified.
    """
    qvl = _qvl()
    try:
        parsed = qvl.parse_quote(raw)
        return str(parsed.fmspc()).upper(), str(parsed.ca()), tee_of(raw)
    except ValueError:
        return None
    except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no Exception
        _only_panic(error)
        return None


def _only_panic(error: BaseException) -> None:
    """Raise ``error`` again unless it is a panic of the Rust code, which derives from no class
    that could be named."""
    if type(error).__name__ != "PanicException":
        raise error


def _dcap(raw: bytes, collateral: Collateral, at: int, anchors: Anchors) -> dict[str, Any]:
    qvl = _qvl()
    try:
        stated = qvl.QuoteCollateralV3.from_json(collateral.as_json())
        if anchors.intel_root is None:
            report = qvl.verify(raw, stated, at)
        else:
            report = qvl.verify_with_root_ca(raw, stated, anchors.intel_root, at)
        found = json.loads(report.to_json())
    except ValueError as error:
        raise AttestationRejected(f"The quote does not verify: {_reason(error)}.") from None
    except BaseException as error:  # noqa: BLE001 - a panic of Rust code is no Exception
        _only_panic(error)
        raise AttestationRejected("The quote does not verify: it breaks the verifier.") from None
    if not isinstance(found, dict):
        raise AttestationRejected("The quote does not verify: the verifier's report is no object.")
    return found


def _reason(error: ValueError) -> str:
    """The innermost cause that `dcap-qvl` names, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if line != "Caused by:"] or ["no reason is given"]
    head = lines[0].removeprefix("Verification failed: ")
    text = head if len(lines) == 1 else f"{head} ({lines[-1]})"
    return "".join(char if " " <= char <= "~" else "?" for char in text[:300]).rstrip(".")


def _body(verified: Mapping[str, Any]) -> Mapping[str, Any]:
    report = verified.get("report")
    if isinstance(report, dict) and len(report) == 1:
        body = next(iter(report.values()))
        if isinstance(body, dict):
            base = body.get("base")
            return {**base, **body} if isinstance(base, dict) else body
    return {}


def _compare(quote: Quote, verified: Mapping[str, Any]) -> None:
    """Two parsers read the quote; what one verified must be what the other goes on with."""
    body = _body(verified)
    for name, value in quote.fields.items():
        other = body.get(name.replace("rtmr", "rt_mr"))
        if other != value.hex():
            raise AttestationRejected(f"The verifier read another {name} than the quote holds.")


def _tcb(verified: Mapping[str, Any], collateral: Collateral) -> dict[str, Any]:
    return {
        "status": str(verified.get("status")),
        "advisories": [str(item) for item in verified.get("advisory_ids", [])],
        "fmspc": collateral.fmspc,
        "evaluation": collateral.evaluation,
        "collateral_issued": collateral.issued,
        "collateral_expires": collateral.expires,
    }


def _check_tcb(verified: Mapping[str, Any], policy: QuotePolicy, checks: Checks) -> None:
    status = str(verified.get("status"))
    advisories = {str(item) for item in verified.get("advisory_ids", [])}
    unknown = sorted(advisories - policy.advisories)
    named = f" ({', '.join(sorted(advisories))})" if advisories else ""
    if status == "Revoked" or status not in policy.tcb_statuses:
        accepted = ", ".join(sorted(policy.tcb_statuses))
        detail = f"The platform's TCB is {status}{named}; the policy accepts {accepted}."
        checks.add("tcb", False, detail)
    elif unknown:
        detail = f"The platform's TCB is {status}, open to {', '.join(unknown)}."
        checks.add("tcb", False, detail)
    else:
        note = "" if status == UP_TO_DATE else ", tolerated by the policy"
        checks.add("tcb", True, f"{status}{named}{note}")


def _check_content(quote: Quote, policy: QuotePolicy, checks: Checks) -> None:
    if quote.trailing.strip(b"\0"):
        detail = f"{len(quote.trailing)} bytes that nothing signs stand behind the quote."
        checks.add("quote-end", False, detail)
    else:
        checks.add("quote-end", True, "Nothing but padding stands behind the quote")
    attributes = int.from_bytes(quote.fields["td_attributes"], "little")
    shown = quote.fields["td_attributes"].hex()
    if not attributes & _SEPT_VE_DISABLE:
        detail = f"SEPT_VE_DISABLE is not set in the TD's attributes ({shown})."
        checks.add("attributes", False, detail)
    elif attributes & _MIGRATABLE:
        detail = f"The TD may be migrated to another machine ({shown})."
        checks.add("attributes", False, detail)
    else:
        checks.add("attributes", True, shown)
    for name in ("mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"):
        _check_measurement(quote, name, policy, checks)
    for name in sorted(set(policy.measurements) - {"mr_td", "rtmr0", "rtmr1", "rtmr2", "rtmr3"}):
        _check_measurement(quote, name, policy, checks)


def _check_measurement(quote: Quote, name: str, policy: QuotePolicy, checks: Checks) -> None:
    label = name.replace("_", "-")
    wanted = policy.measurements.get(name)
    value = quote.fields.get(name)
    if wanted is None:
        checks.add(label, True, f"{value.hex() if value else ''}, not pinned by the policy")
    elif value is None:
        checks.add(label, False, f"The quote has no {name}, the policy pins it.")
    elif value in wanted:
        checks.add(label, True, f"{value.hex()}, as the policy pins it")
    else:
        checks.add(label, False, f"{name} is {value.hex()}, which the policy does not accept.")
