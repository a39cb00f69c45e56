"""What an ingest did, counted as it happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from crag_core.console import Console

STATUSES = ("added", "updated", "unchanged", "removed", "failed")


@dataclass
class IngestReport:
    """Counts, failures and, at the end, the snapshot and the hits of the trial question."""

    collection: str
    search_mode: str
    dry_run: bool = False
    documents: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUSES, 0))
    chunks: int = 0
    written: int = 0
    seconds: float = 0.0
    snapshot: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    _failed: list[tuple[int, str, str]] = field(default_factory=list, repr=False)
    _incomplete: list[tuple[int, str, str]] = field(default_factory=list, repr=False)

    @property
    def failures(self) -> list[dict[str, str]]:
        """Path and reason of each file that was left out, in the order in which they were found."""
        return _named(self._failed)

    @property
    def incomplete(self) -> list[dict[str, str]]:
        """Path and reason of each file of which a part was left out, in the same order."""
        return _named(self._incomplete)

    @property
    def readable(self) -> int:
        """How many files could be read."""
        return sum(self.documents[status] for status in ("added", "updated", "unchanged"))

    def fail(self, path: str, reason: str, number: int) -> None:
        """Record the ``number``-th file as left out; ``reason`` completes "FILE ..."."""
        self.documents["failed"] += 1
        self._failed.append((number, path, reason))

    def lack(self, path: str, reason: str, number: int) -> None:
        """Record the ``number``-th file as taken in without some of it; ``reason`` says what."""
        self._incomplete.append((number, path, reason))

    def as_json(self) -> dict[str, Any]:
        """The object of the contract; a dry run has ``dry_run: true`` as well, and a run that left
        parts of files out ``incomplete``.
        """
        result: dict[str, Any] = {
            "collection": self.collection,
            "search_mode": self.search_mode,
            "documents": self.documents,
            "chunks": {"total": self.chunks, "written": self.written},
            "seconds": round(self.seconds, 3),
            "failures": self.failures,
            "snapshot": self.snapshot,
            "search": self.search,
        }
        if self._incomplete:
            result["incomplete"] = self.incomplete
        return result | ({"dry_run": True} if self.dry_run else {})

    def show(self, console: Console) -> None:
        """The same for a person, on stdout."""
        counts = ", ".join(f"{count} {name}" for name, count in self.documents.items() if count)
        head = f"{self.collection} ({self.search_mode} search)"
        would = " (dry run: nothing was written)" if self.dry_run else ""
        console.line(f"{head}: documents: {counts or 'none'}{would}")
        console.line(
            f"chunks: {self.written} written, {self.chunks} in these documents, "
            f"{self.seconds:.1f} s"
        )
        if self.snapshot:
            console.line(
                f"snapshot {self.snapshot['id']}: sequence {self.snapshot['sequence']}, "
                f"{self.snapshot['rows']} rows, root {self.snapshot['root']}"
            )


def _named(found: list[tuple[int, str, str]]) -> list[dict[str, str]]:
    return [{"path": path, "reason": reason} for _, path, reason in sorted(found)]
