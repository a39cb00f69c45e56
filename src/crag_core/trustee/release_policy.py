"""The resource policy that crag writes: these resources, to affirmed workloads, and nothing else.

It runs on every Trustee that issues EAR tokens: the forks give the resource's path as a string
with a prefix, upstream as an array; the CPU's submodule is ``cpu0``, or ``cpu`` in old ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

_MARK = "# crag resources: "

_POLICY = """\
# Written by 'trustee policy apply'; change it with that command, or replace it as a whole.
{mark}{resources}
package policy

import rego.v1

default allow := false

resources := {members}

path := data["resource-path"]

segments := path if is_array(path)

segments := array.slice(parts, count(parts) - 3, count(parts)) if {{
	is_string(path)
	parts := split(path, "/")
	count(parts) in {{3, 4}}
}}

cpu := input.submods.cpu0

cpu := input.submods.cpu if not input.submods.cpu0

affirmed if {{
	cpu["ear.appraisal-policy-id"] == "default"
	every submod in input.submods {{
		submod["ear.status"] == "affirming"
	}}
}}

allow if {{
	concat("/", segments) in resources
	affirmed
}}
"""


def write(resources: Iterable[str]) -> str:
    """The policy, in Rego, that releases ``resources`` (``repository/type/tag``) and no other."""
    names = sorted(set(resources))
    members = f"{{{json.dumps(names)[1:-1]}}}" if names else "set()"
    return _POLICY.format(mark=_MARK, resources=json.dumps(names), members=members)


def read(policy: str) -> list[str] | None:
    """The resources that ``policy`` releases, where :func:`write` wrote it; None for any other.

    A policy that was edited by hand is another one, whatever its first lines say.
    """
    line = re.search(rf"^{re.escape(_MARK)}(\[.*\])$", policy, re.MULTILINE)
    try:
        names = json.loads(line[1]) if line else None
    except ValueError:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return None
    return names if write(names) == policy else None


def denies_all(policy: str) -> bool:
    """Whether ``policy`` has no rule but ``default allow := false``."""
    lines = (line.split("#")[0].strip() for line in policy.splitlines())
    code = [line for line in lines if line]
    deny = {"default allow := false", "default allow = false"}
    return (
        len(code) <= 3
        and any(line in deny for line in code)
        and not any(line.startswith("allow") for line in code)
    )
