"""Intel's signed statements that a quote is judged by, as `dcap-qvl` takes them.

Pure: it reads what it is given. Where collateral comes from is another module's matter
(:mod:`crag_core.attestation.pccs`, :mod:`crag_core.attestation.bundle`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from crag_core.errors import BadInput

TEXT_FIELDS = (
    "pck_crl_issuer_chain",
    "tcb_info_issuer_chain",
    "tcb_info",
    "qe_identity_issuer_chain",
    "qe_identity",
)
HEX_FIELDS = ("root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature")
_FMSPC = re.compile(r"[0-9a-fA-F]{12}")
_HINT = "Fetch it again with 'trustee collateral export', or give the file that belongs to it."


@dataclass(frozen=True)
class Collateral:
    """Collateral for one FMSPC, checked for its form only.

    ``issued`` and ``expires`` are unix seconds: the older of the two issue dates and the earlier
    of the two next updates of TCB info and QE identity. What `dcap-qvl` verifies is ``fields``.
    """

    fields: Mapping[str, str]
    fmspc: str
    tee: str
    evaluation: int
    issued: int
    expires: int

    def as_json(self) -> str:
        """The JSON text that ``dcap_qvl.QuoteCollateralV3.from_json`` reads."""
        return json.dumps(dict(self.fields))


def parse_collateral(data: Mapping[str, Any]) -> Collateral:
    """Read a collateral object (members as ``dcap_qvl.QuoteCollateralV3``).

    Unknown members are ignored: they are not handed on.

    Raises:
        BadInput: a member is missing or unusable.
    """
    fields: dict[str, str] = {}
    for name in (*TEXT_FIELDS, *HEX_FIELDS):
        value = data.get(name)
        if not isinstance(value, str) or not value:
            raise BadInput(f"The collateral has no text in its member {name}.", hint=_HINT)
        fields[name] = value
    for name in HEX_FIELDS:
        try:
            bytes.fromhex(fields[name])
        except ValueError:
            raise BadInput(f"The collateral's member {name} is not hex.", hint=_HINT) from None
    extra = data.get("pck_certificate_chain")
    if isinstance(extra, str) and extra:
        fields["pck_certificate_chain"] = extra
    info, identity = _object(fields, "tcb_info"), _object(fields, "qe_identity")
    fmspc = info.get("fmspc")
    evaluation = info.get("tcbEvaluationDataNumber")
    other = identity.get("tcbEvaluationDataNumber")
    named = isinstance(fmspc, str) and _FMSPC.fullmatch(fmspc)
    if not named or not _count(evaluation) or not _count(other):
        raise BadInput("The collateral names no FMSPC or no TCB evaluation number.", hint=_HINT)
    return Collateral(
        fields=fields,
        fmspc=str(fmspc).upper(),
        tee=str(info.get("id", "SGX")).lower(),
        evaluation=min(int(str(evaluation)), int(str(other))),
        issued=min(_time(info, "issueDate"), _time(identity, "issueDate")),
        expires=min(_time(info, "nextUpdate"), _time(identity, "nextUpdate")),
    )


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(fields: Mapping[str, str], name: str) -> dict[str, Any]:
    try:
        value = json.loads(fields[name])
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise BadInput(f"The collateral's member {name} is not a JSON object.", hint=_HINT)
    return value


def _time(data: Mapping[str, Any], name: str) -> int:
    try:
        moment = datetime.strptime(data[name], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"The collateral has no usable date in {name}.", hint=_HINT) from None
    return int(moment.timestamp())


def when(seconds: int) -> str:
    """A unix time as UTC text for sentences; the number itself where no date has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"
