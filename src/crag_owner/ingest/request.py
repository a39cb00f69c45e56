"""What the command line of an ingest asks for, checked before anything is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crag_core.errors import UsageError
from crag_owner.display import is_unicode
from crag_owner.ingest.expiry import Expiry
from crag_owner.ingest.labels_file import Labels
from crag_owner.searching import check_question

if TYPE_CHECKING:
    from crag_owner.parsing.sandbox import SandboxLimits


def parse_labels(given: Sequence[str]) -> dict[str, str]:
    """``KEY=VALUE`` pairs as a dictionary.

    Raises:
        UsageError: no ``=``, no key, or a key twice.
    """
    labels: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name.strip() or not is_unicode(pair):
            raise UsageError(f"The label {pair!r} is not KEY=VALUE.", hint="As in team=sales.")
        if name in labels:
            raise UsageError(f"The label {name!r} is given twice.", hint="Keep one of them.")
        labels[name] = value
    return labels


@dataclass(frozen=True)
class ChunkingChoice:
    """How a new collection is to be cut; None leaves the default, or the collection's own."""

    tokens: int | None = None
    overlap: int | None = None
    strategy: str | None = None


@dataclass(frozen=True)
class IngestRequest:
    """Which files go into which collection, and how; None leaves the collection's own value."""

    named: Sequence[Path]
    base: Path | None
    question: str | None
    labels: Labels
    expiry: Expiry
    collection: str
    search_mode: str | None
    scaling_factor: float | None
    approximation_factor: float | None
    fetch: int | None
    workers: int | None
    sync: bool
    dry_run: bool
    chunking: ChunkingChoice = ChunkingChoice()
    parse_seconds: float = 120.0
    parse_memory: int = 1024
    runner: str = "local"

    @property
    def parsing(self) -> SandboxLimits:
        """What one file may cost.

        Raises:
            BadInput: nothing could be parsed with so little.
        """
        # The parsers are imported only when there is work to do.
        from crag_owner.parsing.sandbox import SandboxLimits

        return SandboxLimits(seconds=self.parse_seconds, memory=self.parse_memory * 1024**2)

    @property
    def folders(self) -> list[Path]:
        """Those of the named paths that are folders."""
        return [path for path in self.named if path.is_dir()]

    def check(self) -> None:
        """Refuse what cannot be meant.

        Raises:
            UsageError: nothing to ingest, or --sync without a folder.
            BadInput: the question cannot be asked, or the limits let nothing through.
        """
        if not self.named:
            raise UsageError(
                "There is nothing to ingest.", hint="Name files or folders, or -D DIR."
            )
        if self.sync and not self.folders:
            raise UsageError("--sync needs a folder.", hint="Name the folder with -D DIR.")
        _ = self.parsing
        if self.question is not None:
            check_question(self.question)
