"""``crag-owner``: encrypt documents, keep the key, decide who gets it."""

from __future__ import annotations

from crag_core.command import group, run
from crag_owner import __version__

root = group(
    "crag-owner",
    "Encrypt private documents on this machine, store them anywhere, keep the key.",
    {
        "ingest": ("crag_owner.ingest.command:ingest", "Encrypt documents and store them."),
        "search": ("crag_owner.search_command:search", "Find passages for a question."),
        "list": ("crag_owner.document_commands:list_documents", "List the documents."),
        "show": ("crag_owner.document_commands:show", "Show one document's chunks."),
        "delete": ("crag_owner.document_commands:delete", "Delete documents."),
        "purge": ("crag_owner.purge_command:purge", "Remove documents whose date is past."),
        "stats": ("crag_owner.document_commands:stats", "Count documents, rows and bytes."),
        "verify": ("crag_owner.verify_command:verify", "Open every row; name what is wrong."),
        "calibrate": (
            "crag_owner.calibrate.command:calibrate",
            "Measure noise and recall; recommend factors.",
        ),
        "audit": ("crag_owner.audit.command:audit", "Attack your own collection; report leakage."),
        "rotate": ("crag_owner.rotate_command:rotate", "Write every row anew under new keys."),
        "key": ("crag_owner.key_commands:key_group", "Make, show and hand over the master key."),
        "database": ("crag_owner.database_commands:database_group", "Run the embedded database."),
        "trustee": ("crag_core.trustee.cli:trustee_group", "Run and set up a Trustee."),
        "config": ("crag_core.settings_command:config_group", "Show the effective settings."),
        "completion": ("crag_core.settings_command:completion", "Print a shell completion script."),
    },
    version=__version__,
)


def main() -> None:
    """Entry point of the command."""
    raise SystemExit(run(root, "owner"))
