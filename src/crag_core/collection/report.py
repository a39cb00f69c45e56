"""What a verification found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from crag_core.errors import IntegrityViolated
from crag_core.snapshot import Snapshot

Kind = Literal["tampered", "missing", "added", "swapped", "rolled_back"]
SNAPSHOT = "snapshot"
MAX_DETAILS = 100


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong.

    ``row`` is the UUID of a row, or of a document where ``detail`` says so, ``snapshot`` for the
    snapshot, or empty where nothing can be named.
    """

    kind: Kind
    row: str
    detail: str


@dataclass(frozen=True)
class Verification:
    """``rows`` and ``documents`` were read; ``snapshot`` is None if it is no good."""

    ok: bool
    rows: int
    documents: int
    snapshot: Snapshot | None
    violations: Sequence[Violation]


def refuse(name: str, verification: Verification) -> None:
    """Refuse a collection that did not verify.

    Raises:
        IntegrityViolated: it did not; the message names the first violation, ``details`` up to
            100 of them.
    """
    if verification.ok:
        return
    first = verification.violations[0]
    others = len(verification.violations) - 1
    place = f" {first.row}" if first.row else ""
    more = f" There are {others} more violations." if others else ""
    raise IntegrityViolated(
        f"The collection {name} is not as its owner left it: {first.kind}{place}, "
        f"{first.detail}.{more}",
        hint="Have the newest state restored; `crag-owner verify` lists everything.",
        details={
            "collection": name,
            "violations": [
                {"kind": each.kind, "row": each.row, "detail": each.detail}
                for each in verification.violations[:MAX_DETAILS]
            ],
        },
    )
