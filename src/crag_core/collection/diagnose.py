"""What happened to everything that does not fit: which one it is, and what was done to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from crag_core.collection.documents import DocumentInfo, document_digest, open_document
from crag_core.collection.evidence import Evidence
from crag_core.collection.exchanges import explain_suspects
from crag_core.collection.report import Violation
from crag_core.collection.rows import RowContent, open_row, opens, row_digest, row_name
from crag_core.errors import IntegrityViolated
from crag_core.store.interface import StoredDocument, StoredRow

# Every document that does not open is tried under every id that could be its own, up to here.
MAX_TRIED = 64


def diagnose(evidence: Evidence) -> list[Violation]:
    """Name everything that does not fit; empty if everything does."""
    found = [
        Violation("added", row_name(identity), "this id is there twice")
        for identity in evidence.repeated
    ]
    opened = [(row, _content(evidence, row)) for row in evidence.strangers]
    found += _closed_documents(evidence, opened)
    opened = [pair for pair in opened if not _settled(evidence, pair[0])]
    found += explain_suspects(evidence)
    gone = _gone(evidence)
    found += _strangers(evidence, opened, gone)
    for identity in gone:
        lost = evidence.expected[identity]
        detail = f"row {lost.place + 1} of document {row_name(lost.document)} is not there"
        found.append(Violation("missing", row_name(identity), detail))
    return found


def _content(evidence: Evidence, row: StoredRow) -> RowContent | None:
    try:
        return open_row(evidence.context, row)
    except IntegrityViolated:
        return None


def _gone(evidence: Evidence) -> dict[bytes, None]:
    present = {row.id for row in evidence.suspects} | evidence.intact.keys()
    return dict.fromkeys(each for each in evidence.expected if each not in present)


def _settled(evidence: Evidence, row: StoredRow) -> bool:
    """Whether a stranger turned out to belong to a document that was found under another id."""
    expected = evidence.expected.get(row.id)
    if expected is None:
        return False
    digest = row_digest(row)
    if expected.digest == digest and opens(evidence.context, row):
        evidence.intact[row.id] = digest
    else:
        evidence.suspects.append(row)
    return True


def _closed_documents(
    evidence: Evidence, opened: Iterable[tuple[StoredRow, RowContent | None]]
) -> list[Violation]:
    """Documents that do not open: moved to another id, or changed."""
    own = {row_name(document.id): document.id for document in evidence.closed}
    named = dict.fromkeys(content.document_id for _, content in opened if content)
    known = {row_name(key) for key in evidence.documents}
    candidates = [*own, *(name for name in named if name not in own and name not in known)]
    found = []
    originals = {digest: row_name(key) for key, digest in evidence.digests.items()}
    for number, document in enumerate(evidence.closed):
        name = row_name(document.id)
        original = originals.get(document_digest(document))
        if original is not None:
            what = f"a copy of the description of document {original}"
            found.append(Violation("added", name, what))
            continue
        tried = candidates[:MAX_TRIED] if number < MAX_TRIED else []
        info = _reopened(evidence, document, [each for each in tried if each != name])
        if info is None:
            what = "the description of this document was changed"
            found.append(Violation("tampered", name, what))
            continue
        evidence.expect(info)
        if info.id in own:
            what = f"the description under this document's id is that of document {info.id}"
            found.append(Violation("swapped", name, what))
        else:
            what = f"the id of this document was changed to {name}"
            found.append(Violation("tampered", info.id, what))
    return found


def _reopened(
    evidence: Evidence, document: StoredDocument, names: Iterable[str]
) -> DocumentInfo | None:
    for name in names:
        try:
            identity = bytes.fromhex(name.replace("-", ""))
            return open_document(evidence.context, document, identity)
        except (IntegrityViolated, ValueError):
            continue
    return None


def _strangers(
    evidence: Evidence,
    opened: Iterable[tuple[StoredRow, RowContent | None]],
    gone: dict[bytes, None],
) -> list[Violation]:
    """Rows that no document names: copies, old ones, foreign ones, and those left behind."""
    owner = {each.digest: identity for identity, each in evidence.expected.items()}
    documents = {row_name(key) for key in evidence.documents}
    closed = {row_name(document.id) for document in evidence.closed}
    orphans: Counter[str] = Counter()
    found = []
    for row, content in opened:
        name = row_name(row.id)
        original = owner.get(row_digest(row))
        if original is not None and original in gone:
            del gone[original]
            what = f"the id of this row was changed to {name}"
            found.append(Violation("tampered", row_name(original), what))
        elif original is not None:
            what = f"a copy of row {row_name(original)} under an id of its own"
            found.append(Violation("added", name, what))
        elif content is None:
            found.append(Violation("added", name, "a row that no document names and no key opens"))
        elif content.document_id in documents:
            what = f"an old row of document {content.document_id}, put back"
            found.append(Violation("added", name, what))
        elif content.document_id not in closed:
            orphans[content.document_id] += 1
    for document, rows in orphans.items():
        what = f"the description of this document is not there; {rows} of its rows are"
        found.append(Violation("missing", document, what))
    return found
