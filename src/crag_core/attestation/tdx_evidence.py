"""The TDX evidence object of the Trustees: made in the TD, taken apart and judged outside.

``{"quote": b64, "cc_eventlog": b64 or null, "aa_eventlog": text or null, "gpu_evidence": object or
null}``. Trustee 1.5 keeps the agent's log apart, later ones have it inside ``cc_eventlog``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from crag_core.attestation.aael import RTMR3_INDEX, parse_text, write_text
from crag_core.attestation.anchors import PINNED, Anchors
from crag_core.attestation.ccel import MAX_LOG, parse_ccel
from crag_core.attestation.ccel_write import END, appended, before
from crag_core.attestation.offline import verify_recorded
from crag_core.attestation.own_events import OwnEvents
from crag_core.attestation.policy import Policy
from crag_core.attestation.quote import Quote, parse_quote
from crag_core.attestation.rtmr import RuntimeRegister
from crag_core.attestation.tsm import REPORT_DATA, TsmReports
from crag_core.attestation.verdict import Verdict
from crag_core.errors import AttestationRejected, NotSupported

CCEL = Path("/sys/firmware/acpi/tables/data/CCEL")


class TdxSource:
    """Evidence of the TD that this process runs in.

    Args:
        reports: makes quotes.
        ccel: the kernel's copy of the event log; evidence has none where the file is absent.
        gpus: gives the GPUs' evidence object for a nonce of 32 bytes, or None.
        own: crag's measured events; the evidence's log then has those that RTMR3 holds, and
            evidence that would not replay is not given out.
        runtime: the register that they are extended into.
    """

    def __init__(
        self,
        reports: TsmReports,
        *,
        ccel: Path = CCEL,
        gpus: Callable[[bytes], Mapping[str, Any] | None] | None = None,
        own: OwnEvents | None = None,
        runtime: RuntimeRegister | None = None,
    ) -> None:
        self._reports = reports
        self._ccel = ccel
        self._gpus = gpus
        self._own = own
        self._runtime = runtime

    @property
    def tee(self) -> str:
        """``tdx``."""
        return "tdx"

    @property
    def register(self) -> str:
        """RTMR3 with all of crag's events, in hex: what this evidence can be recognised by."""
        own = self._own or OwnEvents(())
        return own.register(len(own.digests), before(self._event_log())).hex()

    def measure(self) -> int:
        """Extend RTMR3 by those of crag's events that it does not hold yet; how many they were.

        Raises:
            AttestationRejected, NotSupported, CragError: as :meth:`RuntimeRegister.measure`.
        """
        runtime, own = self._runtime or RuntimeRegister(), self._own or OwnEvents(())
        earlier = before(self._event_log())
        if own.text and earlier:
            # Once extended, the register would fit no log until the machine is started anew.
            raise NotSupported(
                "The firmware of this TD extends RTMR3, and a text log cannot tell of that.",
                hint="Use --event-log ccel, which Trustee 1.6 and later read.",
            )
        return runtime.measure(own, earlier)

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence over ``report_data`` (1 to 64 bytes); GPUs answer to its first 32 bytes.

        Raises:
            BadInput, NotSupported, CragError, AttestationRejected: as :meth:`TsmReports.quote`;
                the last one also where the event log is malformed, or where RTMR3 holds something
                that no log tells of.
        """
        quote = self._reports.quote(report_data)
        log, text = self._event_log(), None
        if self._own is not None:
            log, text = _complete(log, parse_quote(quote), self._own)
        nonce = report_data.ljust(REPORT_DATA, b"\0")[:32]
        gpus = self._gpus(nonce) if self._gpus is not None else None
        return {
            "quote": base64.b64encode(quote).decode(),
            "cc_eventlog": base64.b64encode(log).decode() if log is not None else None,
            **({"aa_eventlog": text} if text is not None else {}),
            "gpu_evidence": dict(gpus) if gpus is not None else None,
        }

    def additional(self, report_data: bytes) -> dict[str, Any] | None:
        """None: GPUs are inside the evidence itself."""
        del report_data
        return None

    def _event_log(self) -> bytes | None:
        """The event log without the unused end of its table."""
        try:
            raw = self._ccel.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotSupported(
                f"The event log {self._ccel} cannot be read: {error.strerror}.",
                hint="Run this as root.",
            ) from None
        if not raw.strip(b"\xff") or not raw.strip(b"\0"):
            return None
        return raw[: parse_ccel(raw).size] + END


def _complete(log: bytes | None, quote: Quote, own: OwnEvents) -> tuple[bytes, str | None]:
    """The firmware's log with those of crag's events that the quote's RTMR3 holds.

    Returns:
        The table, and a text log beside it where crag's events are logged so.

    Raises:
        AttestationRejected: it does not replay to the quote's registers.
    """
    held = own.held_by_register(quote.rtmr(3), before(log))
    made = appended(log, () if own.text else own.entries[:held])
    replayed, text = parse_ccel(made).replay(), None
    if own.text and held:
        lines = write_text([entry.line() for entry in own.entries[: held - 1]])
        # Such a log begins at zeros: what the firmware extended before has no place in it.
        replayed[RTMR3_INDEX], text = parse_text(lines)[1], lines.decode()
    wrong = [index for index in range(4) if replayed[index + 1] != quote.rtmr(index)]
    if wrong:
        raise AttestationRejected(
            f"The firmware's event log does not replay to RTMR{wrong[0]}, so no verifier would "
            "accept this machine.",
            hint="The machine needs firmware that hands its event log (the ACPI table CCEL) to "
            "the kernel.",
            code="event-log",
        )
    return made, text


def verify_tdx_evidence(
    evidence: Mapping[str, Any],
    report_data: bytes,
    collateral: Mapping[str, Any],
    at: int,
    policy: Policy | None = None,
    *,
    anchors: Anchors = PINNED,
) -> Verdict:
    """Judge an evidence object that must be over ``report_data`` (1 to 64 bytes).

    Raises:
        AttestationRejected: the object itself cannot be read.
        BadInput, NotSupported: as :func:`verify_recorded`.
    """
    policy = policy or Policy()
    expected = frozenset({report_data.ljust(REPORT_DATA, b"\0")})
    pinned = {**policy.quote.measurements, "report_data": expected}
    bound = replace(policy, quote=replace(policy.quote, measurements=pinned))
    quote = _bytes(evidence, "quote", MAX_LOG)
    if quote is None:
        raise _malformed("it has no quote")
    agent = evidence.get("aa_eventlog")
    if agent is not None and not isinstance(agent, str):
        raise _malformed("its aa_eventlog is no text")
    return verify_recorded(
        quote,
        collateral,
        at,
        _bytes(evidence, "cc_eventlog", MAX_LOG),
        _gpus(evidence),
        policy=bound,
        agent_log=agent.encode("utf-8", "replace") if agent else None,
        anchors=anchors,
    )


def hardware_reference_values(evidence: Mapping[str, Any]) -> dict[str, list[str]]:
    """What a Trustee must know of the TD itself: firmware, module and boot chain, from the quote.

    Returns:
        ``{"tdx.mr_td", "tdx.mr_seam", "tdx.rtmr_0" to "tdx.rtmr_2": [hex]}``; nothing for evidence
        that has no quote. The quote is not verified.

    Raises:
        AttestationRejected: the quote is malformed.
    """
    if "quote" not in evidence:
        return {}
    quote = parse_quote(_bytes(evidence, "quote", MAX_LOG) or b"")
    names = ("mr_td", "mr_seam", "rtmr0", "rtmr1", "rtmr2")
    return {f"tdx.{name.replace('rtmr', 'rtmr_')}": [quote.fields[name].hex()] for name in names}


def _bytes(evidence: Mapping[str, Any], name: str, limit: int) -> bytes | None:
    value = evidence.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > 2 * limit:
        raise _malformed(f"its {name} is no text of base64")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _malformed(f"its {name} is not base64") from None


def _gpus(evidence: Mapping[str, Any]) -> bytes | None:
    value = evidence.get("gpu_evidence")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _malformed("its gpu_evidence is no object")
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError):
        raise _malformed("its gpu_evidence is not JSON") from None


def _malformed(why: str) -> AttestationRejected:
    return AttestationRejected(f"The TDX evidence is malformed: {why}.", code="malformed-evidence")
