"""``crag-owner verify``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from crag_core.command import command, console
from crag_core.errors import IntegrityViolated
from crag_core.store.options import DatabaseSettings, database_options
from crag_owner.keyfile import KeySource
from crag_owner.opening import opened
from crag_owner.options import collection_option, key_options

if TYPE_CHECKING:
    from crag_core.collection import Verification


def _progress(rows: int) -> None:
    console().progress(f"{rows} rows opened")
    console().event("progress", rows=rows)


def _as_json(verification: Verification) -> dict[str, Any]:
    snapshot = verification.snapshot
    return {
        "ok": verification.ok,
        "rows": verification.rows,
        "documents": verification.documents,
        "snapshot": None
        if snapshot is None
        else {
            "id": snapshot.id,
            "sequence": snapshot.sequence,
            "rows": snapshot.rows,
            "root": snapshot.root,
        },
        "violations": [
            {"kind": violation.kind, "row": violation.row, "detail": violation.detail}
            for violation in verification.violations
        ],
    }


def _show(verification: Verification) -> None:
    counted = f"{verification.rows} rows of {verification.documents} documents"
    if verification.ok and verification.snapshot is not None:
        console().line(
            f"ok: {counted} opened; they are exactly those of snapshot "
            f"{verification.snapshot.id}, sequence {verification.snapshot.sequence}"
        )
        return
    console().line(f"VIOLATED: {len(verification.violations)} found in {counted}")
    for violation in verification.violations:
        console().line(f"{violation.kind}  {violation.row or '-'}  {violation.detail}")


@command("verify")
@database_options
@collection_option
@key_options
def verify(database: DatabaseSettings, collection: str, key: KeySource) -> None:
    """Open every row and compare the whole with the signed snapshot.

    Names each row that was tampered with, is missing, was added or swapped, and a snapshot older
    than one that this machine has seen. Any violation exits 12.
    """
    with opened(database, collection, key, check_anchor=False) as place:
        verification = place.collection.verify(place.anchors.load(), progress=_progress)
        console().progress_end()
        if verification.ok:
            place.anchors.save(place.collection)
    console().result(_as_json(verification), lambda: _show(verification))
    if not verification.ok:
        # The one object is on stdout already; the sentence that goes with the exit is for stderr.
        console().json = False
        raise IntegrityViolated(
            f"The collection {collection} is not as its owner left it.",
            hint="Have the database's newest state restored, or ingest the named documents anew.",
        )
