"""``crag-owner``: encrypt documents, keep the key, decide who gets it."""

from __future__ import annotations

from crag_core.command import group, run
from crag_owner import __version__

root = group(
    "crag-owner",
    "Encrypt private documents on this machine, store them anywhere, keep the key.",
    {
        "config": ("crag_core.settings_command:config_group", "Show the effective settings."),
        "completion": ("crag_core.settings_command:completion", "Print a shell completion script."),
    },
    version=__version__,
)


def main() -> None:
    """Entry point of the command."""
    raise SystemExit(run(root, "owner"))
