"""An encrypted collection: documents in, verified hits out.

To follow one document from disk to row, read :mod:`.collection`, :mod:`.write` and :mod:`.rows`.
"""

from __future__ import annotations

from crag_core.collection.collection import Collection
from crag_core.collection.documents import DocumentInfo
from crag_core.collection.drafts import ChunkDraft, DocumentDraft, LabelDraft, PutResult
from crag_core.collection.load import LoadedCollection
from crag_core.collection.profile import Profile, check_name
from crag_core.collection.report import Verification, Violation
from crag_core.collection.rows import RowContent
from crag_core.collection.search import Hit

__all__ = [
    "ChunkDraft",
    "Collection",
    "DocumentDraft",
    "DocumentInfo",
    "Hit",
    "LabelDraft",
    "LoadedCollection",
    "Profile",
    "PutResult",
    "RowContent",
    "Verification",
    "Violation",
    "check_name",
]
