"""Rows that are there under their id, but are not what their document says: why not?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from crag_core.collection.evidence import Evidence
from crag_core.collection.report import Violation
from crag_core.collection.rows import opens, row_digest, row_name
from crag_core.store.interface import StoredRow

# Every pair is compared up to here; beyond it an exchange of parts shows as two changed rows.
MAX_PAIRED = 64
_PARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("text", ("nonce", "ciphertext")),
    ("vector and IV", ("vector", "iv")),
    ("vector", ("vector",)),
    ("IV", ("iv",)),
    ("tags", ("tags",)),
    ("expiry", ("expires",)),
)


def explain_suspects(evidence: Evidence) -> list[Violation]:
    """One violation for each suspect, or one for a whole document that is of another version."""
    found: list[Violation] = []
    owner = {each.digest: identity for identity, each in evidence.expected.items()}
    displaced = {row.id for row in evidence.suspects}
    rest: dict[bytes, StoredRow] = {}
    for row in evidence.suspects:
        original = owner.get(row_digest(row))
        if original is None:
            rest[row.id] = row
        elif original in displaced or original not in evidence.intact:
            what = f"under this id stands row {row_name(original)}"
            found.append(Violation("swapped", row_name(row.id), what))
        else:
            what = f"it was overwritten with a copy of row {row_name(original)}"
            found.append(Violation("tampered", row_name(row.id), what))
    exchanged = _exchanged(evidence, rest) if len(rest) <= MAX_PAIRED else {}
    for identity, what in exchanged.items():
        found.append(Violation("swapped", row_name(identity), what))
    left = [row for row in rest.values() if row.id not in exchanged]
    found += _versions(evidence, left)
    return found


def _exchanged(evidence: Evidence, rows: Mapping[bytes, StoredRow]) -> dict[bytes, str]:
    """Pairs of rows that are whole again once a part of each is put into the other."""
    found: dict[bytes, str] = {}
    waiting = list(rows.values())
    while waiting:
        one = waiting.pop()
        for other in waiting:
            part = _common_part(evidence, one, other)
            if part:
                found[one.id] = f"its {part} was exchanged with that of row {row_name(other.id)}"
                found[other.id] = f"its {part} was exchanged with that of row {row_name(one.id)}"
                waiting.remove(other)
                break
    return found


def _common_part(evidence: Evidence, one: StoredRow, other: StoredRow) -> str:
    for name, columns in _PARTS:
        if _fits(evidence, one, other, columns) and _fits(evidence, other, one, columns):
            return name
    return ""


def _fits(evidence: Evidence, row: StoredRow, other: StoredRow, columns: tuple[str, ...]) -> bool:
    mixed = row._replace(**{column: getattr(other, column) for column in columns})
    return row_digest(mixed) == evidence.expected[row.id].digest


def _versions(evidence: Evidence, rows: list[StoredRow]) -> list[Violation]:
    """Rows that open are genuine, but of another version than their document's description."""
    genuine = [row for row in rows if opens(evidence.context, row)]
    per_document = Counter(evidence.expected[row.id].document for row in genuine)
    whole = {
        document
        for document, count in per_document.items()
        if count == evidence.documents[document].chunks
    }
    found = [
        Violation(
            "rolled_back",
            row_name(document),
            "the description and the rows of this document are of different versions",
        )
        for document in whole
    ]
    for row in rows:
        if row not in genuine:
            what = "its text, vector, IV or another column was changed"
            found.append(Violation("tampered", row_name(row.id), what))
        elif evidence.expected[row.id].document not in whole:
            what = "it was put back to another version of the same row"
            found.append(Violation("rolled_back", row_name(row.id), what))
    return found
