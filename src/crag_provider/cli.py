"""``crag-provider``: attest, fetch keys, answer questions."""

from __future__ import annotations

from crag_core.command import group, run
from crag_provider import __version__

root = group(
    "crag-provider",
    "Prove what runs here, get the keys it may have, answer questions behind a verified tunnel.",
    {
        "serve": ("crag_provider.serve_command:serve", "Attest, get the keys, answer questions."),
        "attest": ("crag_provider.attest_command:attest", "Show what a Trustee will be told."),
        "model": ("crag_provider.cli:model_group", "The model at rest: encrypt, digest."),
        "key": ("crag_provider.cli:key_group", "The model's key: push."),
        "trustee": (
            "crag_core.trustee.cli:trustee_group",
            "Run a Trustee for this machine, and say which workload gets which key.",
        ),
        "config": ("crag_core.settings_command:config_group", "Show the effective settings."),
        "completion": ("crag_core.settings_command:completion", "Print a shell completion script."),
    },
    version=__version__,
)

model_group = group(
    "model",
    "The model at rest.",
    {
        "encrypt": ("crag_provider.model.command:encrypt", "Encrypt a model into a new volume."),
        "digest": ("crag_provider.model.command:digest", "The digest of an encrypted volume."),
    },
)

key_group = group(
    "key",
    "The model's key.",
    {"push": ("crag_provider.key_command:push", "Put the model's key into your Trustee.")},
)


def main() -> None:
    """Entry point of the command."""
    raise SystemExit(run(root, "provider"))
