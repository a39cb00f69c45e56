"""``crag-user``: verify, connect, ask, history."""

from __future__ import annotations

from crag_core.command import group, run
from crag_user import __version__

root = group(
    "crag-user",
    "Verify a confidential service before one byte of a question leaves this machine.",
    {
        "verify": ("crag_user.verify:verify", "Have a service prove itself, and send it nothing."),
        "connect": ("crag_user.connect:connect", "Be the HTTP proxy to one verified service."),
        "ask": ("crag_user.ask:ask", "Ask a verified service one question."),
        "history": ("crag_user.history_command:history", "Show what was verified before."),
        "trustee": ("crag_core.trustee.cli:trustee_group", "Run and administer a Trustee."),
        "config": ("crag_core.settings_command:config_group", "Show the effective settings."),
        "completion": ("crag_core.settings_command:completion", "Print a shell completion script."),
    },
    version=__version__,
)


def main() -> None:
    """Entry point of the command."""
    raise SystemExit(run(root, "user"))
