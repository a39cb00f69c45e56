"""``crag-provider``: attest, fetch keys, answer questions."""

from __future__ import annotations

from crag_core.command import group, run
from crag_provider import __version__

root = group(
    "crag-provider",
    "Prove what runs here, get the keys it may have, answer questions behind a verified tunnel.",
    {
        "config": ("crag_core.settings_command:config_group", "Show the effective settings."),
        "completion": ("crag_core.settings_command:completion", "Print a shell completion script."),
    },
    version=__version__,
)


def main() -> None:
    """Entry point of the command."""
    raise SystemExit(run(root, "provider"))
