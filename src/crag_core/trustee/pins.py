"""What a policy pins: the measurements of one or several enclaves, and what is tolerated."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crag_core.attestation.eventlog import LogEntry
from crag_core.errors import AttestationRejected, BadInput

FORMAT = "crag/pins/v1"
EVENTS = ("software", "model", "configuration")
# Names of a quote's fields as the Trustees' claims have them, and as our parser has.
REGISTERS = {
    "mr_td": "mr_td",
    "mr_seam": "mr_seam",
    "rtmr_0": "rtmr0",
    "rtmr_1": "rtmr1",
    "rtmr_2": "rtmr2",
    "td_attributes": "td_attributes",
    "xfam": "xfam",
}
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEX = re.compile(r"(?:[0-9a-f]{2}){1,64}", re.ASCII)
_WORD = re.compile(r"[A-Za-z0-9-]{1,64}", re.ASCII)
_HINT = "Make it with 'crag-provider attest --json' on the machine that shall be trusted."

Digests = dict[str, list[str]]


@dataclass(frozen=True)
class Measured:
    """Events and registers that are accepted together, each by name; forms as in :class:`Pins`."""

    events: Digests
    registers: Digests


@dataclass(frozen=True)
class Pins:
    """The values that are accepted.

    ``events``: crag's events by name, SHA-256 of their content in hex. ``registers``: fields of the
    quote by name, in hex; empty where nothing but sample evidence is pinned. ``allow_sample``:
    software-made evidence is accepted. ``tcb_statuses``, ``advisories``: what is tolerated of a
    platform. ``accept_unknown_tcb``: also of a server that doesn't tell. ``gpus``: how many at
    least. ``resources``: what is released, ``repository/type/tag``. ``parts``: which of the events
    and registers belong together; without it, all of them go with each other.
    """

    events: Digests
    registers: Digests = field(default_factory=dict)
    resources: tuple[str, ...] = ()
    allow_sample: bool = False
    tcb_statuses: tuple[str, ...] = ("UpToDate",)
    advisories: tuple[str, ...] = ()
    accept_unknown_tcb: bool = False
    gpus: int = 0
    parts: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could turn into something else in a policy's text.

        Raises:
            BadInput: a value is not of its form, or nothing is pinned.
        """
        if set(self.events) != set(EVENTS) or not all(self.events.values()):
            raise BadInput(
                f"The measurement has not all of the events {', '.join(EVENTS)}.", hint=_HINT
            )
        if not self.registers and not self.allow_sample:
            raise BadInput(
                "The measurement is of software-made evidence, which proves nothing.",
                hint="Measure on the enclave itself; for trying, say --allow-sample.",
            )
        values = [value for found in self.events.values() for value in found]
        fields = [value for found in self.registers.values() for value in found]
        well = all(_SHA256.fullmatch(value) for value in values)
        well = well and all(_HEX.fullmatch(value) for value in fields)
        well = well and set(self.registers) in (set(), set(REGISTERS))
        well = well and all(map(_WORD.fullmatch, (*self.tcb_statuses, *self.advisories)))
        # Values that are nowhere else would be in the policies' text without a look at their form.
        well = well and all(
            set(part.events) == set(EVENTS)
            and set(part.registers) in (set(), set(REGISTERS))
            and _within(part.events, self.events)
            and _within(part.registers, self.registers)
            for part in self.parts
        )
        if not well:
            raise BadInput("A pinned value is not of its form.", hint=_HINT)
        if "Revoked" in self.tcb_statuses or not self.tcb_statuses:
            raise BadInput("A revoked platform is never accepted.", hint="Name other statuses.")

    def together(self) -> tuple[Measured, ...]:
        """The measurements, any one of which is accepted as a whole."""
        return self.parts or (Measured(self.events, self.registers),)

    def reference_values(self) -> Digests:
        """The same pins as reference values, for policies that look there."""
        return {
            **{f"crag.{name}": list(found) for name, found in self.events.items()},
            **{f"crag.{name}.event": found for name, found in event_digests(self.events).items()},
            **{f"tdx.{name}": list(found) for name, found in self.registers.items()},
        }

    def as_json(self) -> dict[str, Any]:
        """The object that :func:`read` reads."""
        return {
            "format": FORMAT,
            "events": self.events,
            "registers": self.registers,
            "resources": list(self.resources),
            "allow_sample": self.allow_sample,
            "tcb_statuses": list(self.tcb_statuses),
            "advisories": list(self.advisories),
            "accept_unknown_tcb": self.accept_unknown_tcb,
            "gpus": self.gpus,
            "parts": [{"events": one.events, "registers": one.registers} for one in self.parts],
        }


def event_digests(events: Digests) -> Digests:
    """What the events' digests in a log are: SHA-256 and SHA-384 of their data, by name."""
    return {
        name: sorted(
            hashlib.new(algorithm, LogEntry(name, bytes.fromhex(content)).data()).hexdigest()
            for content in contents
            for algorithm in ("sha256", "sha384")
        )
        for name, contents in events.items()
    }


def _within(one: Digests, other: Digests) -> bool:
    return all(set(values) <= set(other.get(name, ())) for name, values in one.items())


def read(data: bytes) -> Pins:
    """The pins in a file that :meth:`Pins.as_json` made.

    Raises:
        BadInput: it is something else.
    """
    found = json_object(data, "pins")
    try:
        known = found.pop("format") == FORMAT
        for name in ("resources", "tcb_statuses", "advisories"):
            found[name] = tuple(str(item) for item in found[name])
        found["parts"] = tuple(Measured(**part) for part in found.get("parts", ()))
        pins = Pins(**found) if known else None
    except (KeyError, TypeError, AttributeError):
        pins = None
    if pins is None:
        raise BadInput(
            f"The pins are not of the format {FORMAT}.", hint="Write them with 'policy write'."
        )
    return pins


def parts(files: Sequence[tuple[str, bytes]]) -> tuple[Measured, ...]:
    """What each of ``files`` says by itself; raises as :func:`measured`."""
    return tuple(Measured(*measured([file])) for file in files)


def measured(files: Sequence[tuple[str, bytes]]) -> tuple[Digests, Digests]:
    """Events and registers in what ``crag-provider attest --json`` printed, of several together.

    The quote in it is not verified here: the files must come from machines that one trusts.

    Args:
        files: name and content of each.

    Raises:
        BadInput: a file is something else, or was measured in a debug TD.
    """
    events: dict[str, set[str]] = {}
    registers: dict[str, set[str]] = {}
    for name, data in files:
        found = json_object(data, name)
        values = found.get("reference_values")
        for event in EVENTS:
            listed = values.get(f"crag.{event}") if isinstance(values, dict) else None
            if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
                raise BadInput(f"{name} has no reference values of crag.{event}.", hint=_HINT)
            events.setdefault(event, set()).update(listed)
        if found.get("tee") == "tdx":
            for register, value in _registers(name, found.get("evidence")).items():
                registers.setdefault(register, set()).add(value)
    if not files:
        raise BadInput("No measurement is named.", hint="Name at least one with --measurement.")
    return _sorted(events), _sorted(registers)


def _registers(name: str, evidence: object) -> dict[str, str]:
    from crag_core.attestation.quote import parse_quote

    text = evidence.get("quote") if isinstance(evidence, Mapping) else None
    try:
        quote = parse_quote(base64.b64decode(text if isinstance(text, str) else "?", validate=True))
    except (binascii.Error, ValueError, AttestationRejected):
        raise BadInput(f"{name} has no quote that can be read.", hint=_HINT) from None
    if quote.fields["td_attributes"][0]:
        raise BadInput(
            f"{name} was measured in a TD in debug mode, whose memory its host can read.",
            hint="Start the TD without debugging and measure again.",
        )
    return {register: quote.fields[ours].hex() for register, ours in REGISTERS.items()}


def _sorted(found: Mapping[str, set[str]]) -> Digests:
    return {name: sorted(values) for name, values in found.items()}


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object that is in the file ``name``.

    Raises:
        BadInput: it holds something else.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{name} is not a JSON object.", hint=_HINT)
    return found
