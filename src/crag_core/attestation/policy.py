"""What evidence must show: an explicit policy, read from JSON, nothing implied.

Every default refuses: only the status ``UpToDate``, no advisory, collateral of at most 30 days,
GPUs only in single-GPU confidential mode. What a policy leaves empty is shown and not judged.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from crag_core.errors import BadInput

FORMAT = "crag/evidence-policy/v1"
DAY = 86_400
UP_TO_DATE = "UpToDate"
TOLERABLE = frozenset(
    {
        UP_TO_DATE,
        "SWHardeningNeeded",
        "ConfigurationNeeded",
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDate",
        "OutOfDateConfigurationNeeded",
    }
)
GPU_MODES = frozenset({"spt", "mpt", "ppcie"})
_HINT = "docs/reference/evidence.md lists every member of a policy."


@dataclass(frozen=True)
class QuotePolicy:
    """Rules for the quote.

    ``tcb_statuses``: the statuses that are accepted; ``Revoked`` never is. ``advisories``: Intel
    advisories that are tolerated; any other one refuses, whatever the status.
    ``max_collateral_age``: seconds since the older of TCB info and QE identity was issued, on top
    of their own expiry. ``minimum_evaluation``: lowest TCB evaluation data number.
    ``measurements``: name of a TD report field -> the values accepted; an absent name is not
    judged. Debug TDs, TDs that can be migrated and TDs without SEPT_VE_DISABLE are refused always.
    """

    tcb_statuses: frozenset[str] = frozenset({UP_TO_DATE})
    advisories: frozenset[str] = frozenset()
    max_collateral_age: int = 30 * DAY
    minimum_evaluation: int = 0
    measurements: Mapping[str, frozenset[bytes]] = field(default_factory=dict)


@dataclass(frozen=True)
class RequiredEvent:
    """An AAEL event that the log must hold: ``domain operation content``."""

    domain: str
    operation: str
    content: str


@dataclass(frozen=True)
class EventPolicy:
    """Rules for the event log.

    ``required``: there must be one, and it must cover all four RTMRs. ``contains``: events that
    must be in it, extended into RTMR3. ``exclusive``: the domains in which no other event than
    those may be.
    """

    required: bool = False
    contains: tuple[RequiredEvent, ...] = ()
    exclusive: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GpuPolicy:
    """Rules for NVIDIA GPUs.

    ``required``: how many GPUs there must be at least; evidence that is given is verified even
    where it is 0. ``modes``: accepted feature flags of the report. ``require_mode``: the report
    must carry the flag. ``require_statement``: the collector must say that confidential mode is on
    and developer tools are off; where it says otherwise, the GPU is always refused.
    ``require_vbios_rim``, ``require_driver_rim``: NVIDIA's reference measurements must be at hand;
    they are compared wherever they are. ``accepted_measurements``: RIM index -> values accepted
    beside the RIM's own. ``vbios``, ``drivers``: accepted versions; empty is any.
    ``require_binding``: a nonce that the caller gives is not enough, it must be the TD's.
    """

    required: int = 0
    modes: frozenset[str] = frozenset({"spt"})
    require_mode: bool = False
    require_statement: bool = False
    require_vbios_rim: bool = False
    require_driver_rim: bool = False
    accepted_measurements: Mapping[int, frozenset[bytes]] = field(default_factory=dict)
    vbios: frozenset[str] = frozenset()
    drivers: frozenset[str] = frozenset()
    require_binding: bool = False


@dataclass(frozen=True)
class Policy:
    """All rules for one piece of evidence. ``id`` names it in verdicts."""

    id: str = "builtin"
    quote: QuotePolicy = field(default_factory=QuotePolicy)
    events: EventPolicy = field(default_factory=EventPolicy)
    gpu: GpuPolicy = field(default_factory=GpuPolicy)


_MEASURED = {
    "mr_td": 48,
    "mr_seam": 48,
    "mr_signer_seam": 48,
    "mr_config_id": 48,
    "mr_owner": 48,
    "mr_owner_config": 48,
    "mr_service_td": 48,
    "rtmr0": 48,
    "rtmr1": 48,
    "rtmr2": 48,
    "rtmr3": 48,
    "td_attributes": 8,
    "xfam": 8,
    "report_data": 64,
}


class _Reader:
    """Reads the members of one JSON object, and refuses those that nobody asked for."""

    def __init__(self, data: object, place: str) -> None:
        if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
            raise BadInput(f"The policy's {place} is not an object.", hint=_HINT)
        self.data: dict[str, Any] = dict(data)
        self.place = place

    def take(self, name: str, kind: type, default: Any) -> Any:
        value: Any = self.data.pop(name, default)
        fits = isinstance(value, kind) and not (kind is int and isinstance(value, bool))
        if not fits:
            raise self.wrong(name, f"is not of type {kind.__name__}")
        if kind is int and value < 0:
            raise self.wrong(name, "is negative")
        return value

    def strings(self, name: str, default: frozenset[str]) -> frozenset[str]:
        value = self.take(name, list, sorted(default))
        if not all(isinstance(item, str) and item for item in value):
            raise self.wrong(name, "is not a list of texts")
        return frozenset(value)

    def values(self, name: str, size: int) -> frozenset[bytes]:
        found = set()
        for text in self.strings(name, frozenset()):
            try:
                value = bytes.fromhex(text)
            except ValueError:
                value = b""
            if len(value) != size:
                raise self.wrong(name, f"holds a value that is not {size} bytes of hex")
            found.add(value)
        return frozenset(found)

    def wrong(self, name: str, why: str) -> BadInput:
        return BadInput(f"The policy's {self.place}.{name} {why}.", hint=_HINT)

    def done(self) -> None:
        if self.data:
            name = sorted(self.data)[0]
            raise BadInput(f"The policy's {self.place} has an unknown member {name!r}.", hint=_HINT)


def parse_policy(text: str | bytes) -> Policy:
    """Read a policy of format ``crag/evidence-policy/v1``.

    Raises:
        BadInput: it is not JSON, has an unknown member, or a value makes no sense.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput("The policy is not JSON.", hint=_HINT) from None
    reader = _Reader(data, "top level")
    if reader.take("format", str, "") != FORMAT:
        raise BadInput(f"The policy's format is not {FORMAT}.", hint=_HINT)
    policy = Policy(
        id=reader.take("id", str, "unnamed"),
        quote=_quote(_Reader(reader.take("quote", dict, {}), "quote")),
        events=_events(_Reader(reader.take("events", dict, {}), "events")),
        gpu=_gpu(_Reader(reader.take("gpu", dict, {}), "gpu")),
    )
    reader.done()
    return policy


def _quote(reader: _Reader) -> QuotePolicy:
    statuses = reader.strings("tcb_statuses", frozenset({UP_TO_DATE}))
    if not statuses <= TOLERABLE:
        raise reader.wrong("tcb_statuses", f"may name only {', '.join(sorted(TOLERABLE))}")
    measured = _Reader(reader.take("measurements", dict, {}), "quote.measurements")
    wanted = {
        name: measured.values(name, size)
        for name, size in _MEASURED.items()
        if name in measured.data
    }
    if not all(wanted.values()):
        raise reader.wrong("measurements", "has a name without any accepted value")
    measured.done()
    policy = QuotePolicy(
        tcb_statuses=statuses,
        advisories=reader.strings("advisories", frozenset()),
        max_collateral_age=reader.take("max_collateral_age_days", int, 30) * DAY,
        minimum_evaluation=reader.take("minimum_evaluation", int, 0),
        measurements=wanted,
    )
    reader.done()
    return policy


def _events(reader: _Reader) -> EventPolicy:
    contains = []
    for number, item in enumerate(reader.take("contains", list, [])):
        event = _Reader(item, f"events.contains[{number}]")
        names = [event.take(name, str, "") for name in ("domain", "operation", "content")]
        if not names[0] or not names[1] or any(" " in name for name in names[:2]):
            raise reader.wrong("contains", "needs a domain and an operation without blanks")
        contains.append(RequiredEvent(*names))
        event.done()
    policy = EventPolicy(
        required=reader.take("required", bool, False),
        contains=tuple(contains),
        exclusive=reader.strings("exclusive", frozenset()),
    )
    reader.done()
    return policy


def _gpu(reader: _Reader) -> GpuPolicy:
    modes = reader.strings("modes", frozenset({"spt"}))
    if not modes <= GPU_MODES:
        raise reader.wrong("modes", f"may name only {', '.join(sorted(GPU_MODES))}")
    extra = _Reader(reader.take("accepted_measurements", dict, {}), "gpu.accepted_measurements")
    accepted = {}
    for name in sorted(extra.data):
        if not name.isascii() or not name.isdigit() or int(name) > 254:
            raise reader.wrong("accepted_measurements", "has a name that is no RIM index")
        accepted[int(name)] = extra.values(name, 48)
    policy = GpuPolicy(
        required=reader.take("required", int, 0),
        modes=modes,
        require_mode=reader.take("require_mode", bool, False),
        require_statement=reader.take("require_statement", bool, False),
        require_vbios_rim=reader.take("require_vbios_rim", bool, False),
        require_driver_rim=reader.take("require_driver_rim", bool, False),
        accepted_measurements=accepted,
        vbios=reader.strings("vbios", frozenset()),
        drivers=reader.strings("drivers", frozenset()),
        require_binding=reader.take("require_binding", bool, False),
    )
    reader.done()
    return policy
