"""``trustee``, mounted by all three commands: run a Trustee for one machine, and administer one."""

from __future__ import annotations

from crag_core.command import group

trustee_group = group(
    "trustee",
    "Run a Trustee for this machine, and say which workload gets which key.",
    {
        "serve": (
            "crag_core.trustee.serve_command:serve",
            "Serve keys and verdicts on loopback until stopped.",
        ),
        "check": (
            "crag_core.trustee.check_command:check",
            "Find a Trustee's holes, and how to close them.",
        ),
        "policy": ("crag_core.trustee.cli:policy_group", "Who gets which key: write, show, apply."),
        "collateral": (
            "crag_core.trustee.cli:collateral_group",
            "Intel's collateral for machines without internet: export, import.",
        ),
        "resource": ("crag_core.trustee.cli:resource_group", "Keys themselves: set, delete, list."),
    },
)

policy_group = group(
    "policy",
    "Which measured workload gets which resource.",
    {
        "write": (
            "crag_core.trustee.pin_command:write",
            "Write policies that pin measured enclaves, for review.",
        ),
        "show": (
            "crag_core.trustee.policy_command:show",
            "The policies and reference values in force.",
        ),
        "apply": (
            "crag_core.trustee.policy_command:apply",
            "Put policies in force.",
        ),
    },
)

collateral_group = group(
    "collateral",
    "Carry Intel's collateral to a machine without internet.",
    {
        "export": ("crag_core.trustee.collateral_command:export", "Fetch and sign a bundle."),
        "import": ("crag_core.trustee.collateral_command:import_", "Verify and keep a bundle."),
    },
)

resource_group = group(
    "resource",
    "The resources of a Trustee.",
    {
        "set": ("crag_core.trustee.resource_command:set_", "Set a resource from a file."),
        "delete": ("crag_core.trustee.resource_command:delete", "Delete a resource."),
        "list": ("crag_core.trustee.resource_command:list_", "List the resources' names."),
    },
)
