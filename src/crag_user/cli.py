"""``crag-user``: verify, connect, ask."""

from __future__ import annotations

from crag_core.command import group, run
from crag_user import __version__

root = group(
    "crag-user",
    "Verify a confidential service before one byte of a question leaves this machine.",
    {
        "config": ("crag_core.settings_command:config_group", "Show the effective settings."),
        "completion": ("crag_core.settings_command:completion", "Print a shell completion script."),
    },
    version=__version__,
)


def main() -> None:
    """Entry point of the command."""
    raise SystemExit(run(root, "user"))
