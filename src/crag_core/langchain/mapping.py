"""What LangChain calls documents, metadata and embeddings, as crag stores them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from langchain_core.documents import Document

from crag_core.collection import Hit, RowContent
from crag_core.errors import BadInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Marks the metadata of a text that was added here, so that what ingest added is told from it.
MARK = "langchain"


def to_document(found: Hit | RowContent) -> Document:
    """A row as LangChain knows it: under the id and metadata it was added with, or by its place."""
    if MARK in found.metadata:
        metadata = dict(found.metadata[MARK])
        return Document(id=found.source, page_content=found.text, metadata=metadata)
    metadata = {
        **found.metadata,
        "source": found.source,
        "page": found.page,
        "heading": found.heading,
        "document_id": found.document_id,
    }
    return Document(id=found.chunk_id, page_content=found.text, metadata=metadata)


def labels_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The entries that can be compared: a text as it is, other plain values as JSON."""
    return {
        str(name): value if isinstance(value, str) else canonical(value)
        for name, value in metadata.items()
        if value is None or isinstance(value, str | int | float)
    }


def canonical(value: Any) -> str:
    """JSON with sorted members.

    Raises:
        BadInput: the value has none.
    """
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        raise BadInput(
            "The metadata of a text has no JSON form.",
            hint="Use texts, numbers, true, false, null, lists and objects.",
        ) from None


def utf8(text: str) -> bytes:
    """The text's bytes.

    Raises:
        BadInput: it has none.
    """
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput("A text or its metadata has no UTF-8 form.") from None


def units(vectors: Sequence[Sequence[float]]) -> NDArray[np.float32]:
    """Vectors at unit norm, float32[n, d]; one that has no direction stays what it is."""
    given = np.asarray(vectors, dtype=np.float64)
    norms = np.linalg.norm(given, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        result: NDArray[np.float32] = (given / np.where(norms > 0, norms, 1.0)).astype(np.float32)
    return result


def spread(
    query: NDArray[np.float32], vectors: NDArray[np.float32], k: int, weight: float
) -> list[int]:
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Args:
        query: float32[d].
        vectors: float32[n, d].
        weight: of nearness to the query against unlikeness to what was taken, 0 to 1.

    Returns:
        Up to ``k`` numbers of rows, in the order taken.
    """
    relevance, likeness = vectors @ query, vectors @ vectors.T
    chosen: list[int] = []
    left = list(range(len(vectors)))
    while left and len(chosen) < k:
        repeated = likeness[left][:, chosen].max(axis=1) if chosen else np.zeros(len(left))
        best = left[int(np.argmax(weight * relevance[left] - (1 - weight) * repeated))]
        chosen.append(best)
        left.remove(best)
    return chosen
