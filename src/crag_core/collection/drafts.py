"""What goes into a collection, in plaintext, before anything is encrypted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ChunkDraft:
    """A piece of a document with its vector, float32[d] of unit norm."""

    text: str
    vector: NDArray[np.float32]
    page: int | None = None
    heading: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DocumentDraft:
    """A document with all its pieces.

    Args:
        source: what names it in the collection, such as a path; one document per source.
        content_tag: from :meth:`Collection.content_tag`; recognises it when it is unchanged.
        chunks: in reading order.
        labels: attributes, ``name=value``.
        expires: seconds since 1970 UTC after which nothing of it is found, or None.
    """

    source: str
    content_tag: bytes
    chunks: Sequence[ChunkDraft]
    labels: Mapping[str, str] = field(default_factory=dict)
    expires: int | None = None


@dataclass(frozen=True)
class LabelDraft:
    """Other labels or another date for a document whose content stays.

    Args:
        source: of the document.
        content_tag: of the content that it must still have.
        labels: all that it has from now on, ``name=value``.
        expires: seconds since 1970 UTC after which nothing of it is found, or None.
    """

    source: str
    content_tag: bytes
    labels: Mapping[str, str] = field(default_factory=dict)
    expires: int | None = None


@dataclass(frozen=True)
class PutResult:
    """What became of a draft; ``rows`` is how many rows the document has now.

    ``stale`` is a :class:`LabelDraft` whose document is gone or has other content by now; nothing
    was done with it, and it has to be put with all its chunks.
    """

    source: str
    status: Literal["added", "updated", "unchanged", "stale"]
    rows: int
