"""What a verification read, sorted by how it fits together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from crag_core.collection.context import Context
from crag_core.collection.documents import DocumentInfo, document_element
from crag_core.collection.rows import row_element
from crag_core.sethash import SetHash
from crag_core.store.interface import StoredDocument, StoredRow


class Expected(NamedTuple):
    """A row that a document names: its digest, the document, its place in reading order."""

    digest: bytes
    document: bytes
    place: int


@dataclass
class Evidence:
    """Everything that was read.

    ``documents``: those that opened. ``expected``: the rows that they name. ``intact``: id and
    digest of the rows that are as they say. ``suspects``: rows that they name and that are
    otherwise. ``strangers``: rows that none names. ``closed``: documents that do not open.
    ``repeated``: ids that occur twice. ``digests``: those of the documents that opened.
    """

    context: Context
    documents: dict[bytes, DocumentInfo] = field(default_factory=dict)
    digests: dict[bytes, bytes] = field(default_factory=dict)
    expected: dict[bytes, Expected] = field(default_factory=dict)
    intact: dict[bytes, bytes] = field(default_factory=dict)
    closed: list[StoredDocument] = field(default_factory=list)
    suspects: list[StoredRow] = field(default_factory=list)
    strangers: list[StoredRow] = field(default_factory=list)
    repeated: list[bytes] = field(default_factory=list)

    def expect(self, info: DocumentInfo) -> None:
        """Take a document whose description opened, and the rows that it names."""
        self.documents[info.key] = info
        for index, (identity, digest) in enumerate(info.members):
            self.expected[identity] = Expected(digest, info.key, index)

    def surplus(self, actual: SetHash, signed: SetHash) -> DocumentInfo | None:
        """The one document that, with its rows, is all that ``actual`` has over ``signed``."""
        for key, info in self.documents.items():
            trial = signed.copy()
            trial.add([document_element(key, self.digests[key])])
            trial.add(row_element(*member) for member in info.members)
            if trial == actual:
                return info
        return None
