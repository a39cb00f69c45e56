"""A question to hits: embed, encrypt, search, unseal; for ``search`` and ``ingest -t``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from crag_core.console import Console
from crag_core.errors import BadInput
from crag_owner.display import is_unicode, printable

if TYPE_CHECKING:
    from crag_core.collection import Collection
    from crag_core.embedding import Embedder

MAX_QUESTION = 8000
SHOWN = 400


@dataclass(frozen=True)
class Found:
    """Hits as the contract's JSON, and how long each step took in milliseconds."""

    query: str
    hits: list[dict[str, Any]]
    timings_ms: dict[str, float]


def check_question(question: str) -> str:
    """The question itself.

    Raises:
        BadInput: empty, too long, or not valid Unicode.
    """
    if not question.strip():
        raise BadInput("The question is empty.", hint="Ask something.")
    if len(question) > MAX_QUESTION:
        raise BadInput(
            f"The question has {len(question)} characters; at most {MAX_QUESTION} are taken.",
            hint="Ask something shorter.",
        )
    if not is_unicode(question):
        raise BadInput("The question is not valid UTF-8.", hint="Check the terminal's encoding.")
    return question


def find_hits(
    collection: Collection,
    embedder: Embedder,
    question: str,
    k: int = 5,
    labels: Mapping[str, str] | None = None,
    fetch: int | None = None,
) -> Found:
    """The ``k`` nearest chunks of documents with all ``labels``, best first.

    ``fetch`` is K', how many rows the database returns to be ranked again.

    Raises:
        BadInput: ``fetch`` is less than ``k``.
    """
    begun = time.perf_counter()
    vector = embedder.query(question)
    embedded = time.perf_counter()
    hits = collection.search(vector, k, fetch, filter=labels)
    done = time.perf_counter()
    return Found(
        question,
        [
            {
                "rank": hit.rank,
                "score": round(float(hit.score), 6),
                "text": hit.text,
                "source": hit.source,
                "page": hit.page,
                "document_id": hit.document_id,
                "chunk_id": hit.chunk_id,
            }
            for hit in hits
        ],
        {
            "embed": round((embedded - begun) * 1000, 3),
            "search": round((done - embedded) * 1000, 3),
        },
    )


def show_hits(console: Console, found: Found) -> None:
    """Hits for a person, on stdout."""
    if not found.hits:
        console.line("No document answers that.")
    for hit in found.hits:
        page = f", page {hit['page']}" if hit["page"] is not None else ""
        console.line(f"{hit['rank']}. {hit['score']:.4f}  {printable(hit['source'])}{page}")
        text = " ".join(printable(str(hit["text"])).split())
        console.line(f"   {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}")
