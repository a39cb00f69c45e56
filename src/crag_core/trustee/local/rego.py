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
    if len(text) > MAX_POLICY:
        raise PolicyError(f"the policy is longer than {MAX_POLICY} characters")
    found, problem = _run(text, rules, json.dumps(input_), json.dumps(data))
    if problem is not None:
        raise PolicyError(problem)
    return found


def _run(
    text: str, rules: Sequence[str], input_: str, data: str
) -> tuple[dict[str, Any], str | None]:
    """The values, and what went wrong, if something did.

    The engine must be dropped in the thread that made it, so no exception may leave this frame: its
    traceback would keep the engine alive for whichever thread collects it.
    """
    from hobofan_regorus import Engine

    engine = Engine()
    found: dict[str, Any] = {}
    try:
        engine.add_policy("policy.rego", text)
        if engine.get_packages() != ["data.policy"]:
            return {}, "the policy is not of 'package policy'"
        engine.add_policy("reference.rego", _SHIM)
        engine.add_data_json(data)
        engine.set_input_json(input_)
        for rule in rules:
            value = _value(engine, rule)
            if value is not None:
                found[rule] = json.loads(value)
    except RuntimeError as error:
        return {}, _brief(error)
    return found, None


def _value(engine: Engine, rule: str) -> str | None:
    """JSON of a rule's value; None where it is undefined or the policy has no such rule."""
    try:
        value: str = engine.eval_rule_as_json(f"data.policy.{rule}")
    except RuntimeError as error:
        if str(error).startswith("not a valid rule path"):
            return None
        raise
    return None if value == '"<undefined>"' else value


def _brief(error: RuntimeError) -> str:
    """Where and why, without the source text and the backtrace that the engine adds."""
    lines = str(error).split("Stack backtrace")[0].strip().splitlines()
    place = next((line.strip() for line in lines if line.strip().startswith("-->")), "")
    why = next((line.strip() for line in lines if line.strip().startswith("error:")), "")
    if place or why:
        return f"{why.removeprefix('error: ')} ({place.removeprefix('--> ')})"
    return "the policy cannot be evaluated"
