"""Policies that pin measurements, as Rego that every Trustee evaluates alike.

The values stand in the policy itself: old servers know reference values only as ``data.reference``,
new ones only by a function. The rules read the claims of openanolis Trustee 1.5 (EAR and Simple
tokens), 1.9, upstream, and crag's own. The resource policy looks at the measurements once more,
because the forks let anybody replace the attestation policy, but not this one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import resources as packaged

from crag_core.trustee.pins import Measured, Pins, event_digests

ATTESTATION, GPU, RESOURCE = "attestation-policy.rego", "gpu-policy.rego", "resource-policy.rego"


def write(pins: Pins) -> dict[str, str]:
    """The policies that pin ``pins``, by file name.

    Without resources there is no resource policy; without GPUs there is no policy for them.
    """
    made = {ATTESTATION: _text("attestation.rego", pins)}
    if pins.gpus:
        made[GPU] = _text("gpu.rego", pins)
    if pins.resources:
        made[RESOURCE] = _text("resource.rego", pins)
    return made


def _text(name: str, pins: Pins) -> str:
    head = "# Written by 'trustee policy write'; write it again instead of changing it.\n"
    parts = [_template(name).rstrip("\n")]
    if name != "gpu.rego":
        parts += [_constants(pins), _template("measured.rego").rstrip("\n")]
    return head + "\n\n".join(parts) + "\n"


def _template(name: str) -> str:
    folder = packaged.files("crag_core.trustee").joinpath("pinning_files")
    return folder.joinpath(name).read_text("utf-8")


def _constants(pins: Pins) -> str:
    measurements = ",\n".join(_measurement(one) for one in pins.together())
    rules = {
        "measurements": f"[\n{measurements},\n]",
        "resources": _set(pins.resources),
        "tcb_statuses": _set(pins.tcb_statuses),
        "advisories": _set(pins.advisories),
        "allow_sample": json.dumps(pins.allow_sample),
        "accept_unknown_tcb": json.dumps(pins.accept_unknown_tcb),
        "gpus_wanted": json.dumps(pins.gpus),
    }
    return "\n\n".join(f"{name} := {value}" for name, value in rules.items())


def _measurement(one: Measured) -> str:
    members = {
        "contents": one.events,
        "digests": event_digests(one.events),
        "registers": one.registers,
    }
    texts = (f'"{name}": {_object(found.items())}' for name, found in members.items())
    return f"{{{', '.join(texts)}}}"


def _object(items: Iterable[tuple[str, list[str]]]) -> str:
    members = ",\n".join(f"\t{json.dumps(name)}: {_set(values)}" for name, values in sorted(items))
    return f"{{\n{members},\n}}" if members else "{}"


def _set(values: Iterable[str]) -> str:
    found = sorted(set(values))
    return f"{{{', '.join(json.dumps(value) for value in found)}}}" if found else "set()"
