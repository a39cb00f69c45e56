"""Rego policies, evaluated in this process: no files, no network, errors without backtraces."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hobofan_regorus import Engine

MAX_POLICY = 256 * 1024

# The real Trustee's engine has this as a builtin; null where there is no such value.
_SHIM = """package policy
import rego.v1
query_reference_value(name) := data.reference[name] if data.reference[name]
else := null
"""


class PolicyError(ValueError):
    """A policy that doesn't parse or can't be evaluated; one line that says where."""


def _parsed(text: str) -> Engine:
    # Made anew for each use: the engine may not leave its thread, and parsing takes microseconds.
    from hobofan_regorus import Engine

    if len(text) > MAX_POLICY:
        raise PolicyError(f"the policy is longer than {MAX_POLICY} characters")
    engine = Engine()
    try:
        engine.add_policy("policy.rego", text)
        packages = engine.get_packages()
        engine.add_policy("reference.rego", _SHIM)
    except RuntimeError as error:
        raise PolicyError(_brief(error)) from None
    if packages != ["data.policy"]:
        raise PolicyError("the policy is not of 'package policy'")
    return engine


def evaluate(
    text: str, rules: Sequence[str], input_: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    """The value of each of the ``rules`` of ``package policy`` that is defined.

    Args:
        text: the policy.
        rules: names below ``data.policy``; one that the policy lacks, or leaves undefined, is
            left out of the answer.
        input_: what the policy reads as ``input``.
        data: what it reads as ``data``.

    Raises:
        PolicyError: it doesn't parse, is another package, or its evaluation fails.
    """
    engine = _parsed(text)
    found = {}
    try:
        engine.add_data_json(json.dumps(data))
        engine.set_input_json(json.dumps(input_))
    except RuntimeError:
        raise PolicyError("the input cannot be given to the policy") from None
    for rule in rules:
        try:
            value = json.loads(engine.eval_rule_as_json(f"data.policy.{rule}"))
        except RuntimeError as error:
            if str(error).startswith("not a valid rule path"):
                continue
            raise PolicyError(_brief(error)) from None
        if value != "<undefined>":
            found[rule] = value
    return found


def _brief(error: RuntimeError) -> str:
    """Where and why, without the source text and the backtrace that the engine adds."""
    lines = str(error).split("Stack backtrace")[0].strip().splitlines()
    place = next((line.strip() for line in lines if line.strip().startswith("-->")), "")
    why = next((line.strip() for line in lines if line.strip().startswith("error:")), "")
    if place or why:
        return f"{why.removeprefix('error: ')} ({place.removeprefix('--> ')})"
    return "the policy cannot be evaluated"
