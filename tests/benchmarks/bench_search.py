"""Encrypted search on 100 000 clustered vectors and on XQuAD, beside plaintext pgvector.

Recall counts how much of the exact plaintext top ten comes back. A search is timed whole: question
encrypted, rows fetched, opened, ranked again; the plaintext one fetches ten texts by an HNSW index
over float32, with the smallest ``hnsw.ef_search`` that reaches the recall of the encrypted one.
Both answer the same questions in turns. Elapsed time needs an idle machine; ``cpu_ratio`` compares
what both cost in CPU time of client and database.
"""

from __future__ import annotations

import bisect
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import bench_xquad
import numpy as np
import psycopg
from bench_ingest import CHUNKS, Rows, copy_binary, drafts
from numpy.typing import NDArray
from server import Meter, postgres
from synthetic import DIMENSION, Topics, exact_nearest

from crag_core.store.schema import HNSW_EF_CONSTRUCTION, HNSW_M
from crag_core.store.settings import DatabaseSettings

ROWS = 100_000
# One hit in ten thousand: the recall of both levels off where a few hits decide what is equal.
QUESTIONS = 1_000
BATCH = 2_000
K = 10
BLOCK = 20
LADDER = (*range(10, 200, 10), *range(200, 400, 25), *range(400, 1001, 100))
MODES = ("database", "enclave")
_PLAIN = (
    "CREATE TABLE plain (id uuid PRIMARY KEY, content text, metadata jsonb, embedding vector(384))"
)
# Made with as much care as the encrypted index, so that recall costs both the same kind of search.
_INDEX = (
    "CREATE INDEX ON plain USING hnsw (embedding vector_l2_ops)"
    f" WITH (m = {HNSW_M}, ef_construction = {HNSW_EF_CONSTRUCTION})"
)
_SELECT = (
    "SELECT content, metadata, embedding <-> %s::vector FROM plain"
    " ORDER BY embedding <-> %s::vector LIMIT 10"
)

Search = Callable[[NDArray[np.float32]], list[int]]
Truth = NDArray[np.intp]


def _say(what: str) -> None:
    print(f"bench: {what}", file=sys.stderr)


def _batches(topics: Topics, rows: int) -> Iterator[Rows]:
    for start in range(0, rows, BATCH):
        yield Rows(topics, 1_000 + start // BATCH, min(BATCH, rows - start))


def _row(source: str, index: int) -> int:
    batch, document = source.split("/")
    return (int(batch) - 1_000) * BATCH + int(document) * CHUNKS + index


@contextmanager
def _encrypted(
    settings: DatabaseSettings, mode: str, topics: Topics, rows: int
) -> Iterator[Search]:
    from crag_core.collection import Collection
    from crag_core.keys import MasterKey
    from crag_core.store.options import open_store

    _say(f"{rows} rows in mode {mode}")
    with open_store(settings) as store:
        collection = Collection.create(
            store, mode, MasterKey.generate(),
            dimension=DIMENSION, embedder="synthetic", search_mode=mode,
        )  # fmt: skip
        for batch in _batches(topics, rows):
            collection.put_documents(drafts(collection, batch))
        begun = time.perf_counter()
        collection.ensure_index()
        _say(f"index: {time.perf_counter() - begun:.0f} s")
        # As a service answers: verified once as a whole, then row by row.
        loaded = collection.load()
        yield lambda vector: [_row(hit.source, hit.index) for hit in loaded.search(vector, k=K)]


@contextmanager
def _plaintext(settings: DatabaseSettings, topics: Topics, rows: int) -> Iterator[Plaintext]:
    with psycopg.connect(**settings.conninfo(), autocommit=True) as connection:
        _say(f"{rows} rows in plaintext")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute(_PLAIN)
        for batch in _batches(topics, rows):
            copy_binary(connection, "plain", batch)
        connection.execute("SET maintenance_work_mem = '1GB'")
        begun = time.perf_counter()
        connection.execute(_INDEX)
        _say(f"index: {time.perf_counter() - begun:.0f} s")
        yield Plaintext(connection)


class Plaintext:
    """Search of plain pgvector.

    Args:
        connection: kept open, with autocommit.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def search(self, vector: NDArray[np.float32]) -> list[int]:
        """The rows found for a question's vector, best first."""
        text = str(vector.tolist())
        found = self._connection.execute(_SELECT, [text, text]).fetchall()
        return [_row(metadata["source"], metadata["index"]) for _, metadata, _ in found]

    def reach(self, wanted: float, questions: NDArray[np.float32], truth: Truth) -> dict[str, Any]:
        """Set the smallest ``ef_search`` of the ladder with this recall, or the largest one, as if
        recall never fell along it.
        """

        def reached(ef: int) -> float:
            self._connection.execute(f"SET hnsw.ef_search = {ef}")
            return _recall([self.search(question) for question in questions], truth)

        ef = LADDER[min(bisect.bisect_left(LADDER, wanted, key=reached), len(LADDER) - 1)]
        return {"ef_search": ef, "recall_at_10": reached(ef)}


def _recall(found: list[list[int]], truth: Truth) -> float:
    same = sum(len(set(a) & set(b.tolist())) for a, b in zip(found, truth, strict=True))
    return same / truth.size


def _times(searches: list[Search], questions: NDArray[np.float32]) -> list[list[float]]:
    """Seconds of each search for each question, by turns, after one round to warm up."""
    times: list[list[float]] = [[] for _ in searches]
    for question in [*questions[:20], *questions]:
        for search, taken in zip(searches, times, strict=True):
            begun = time.perf_counter()
            search(question)
            taken.append(time.perf_counter() - begun)
    return [taken[20:] for taken in times]


def _quantiles(taken: list[float]) -> dict[str, float]:
    return {"p50": statistics.median(taken), "p95": float(np.quantile(taken, 0.95))}


def _cpu(meter: Meter, searches: list[Search], questions: NDArray[np.float32]) -> list[float]:
    """CPU milliseconds of client and database per question, medians of blocks taken by turns."""
    costs: list[list[float]] = [[] for _ in searches]
    for start in range(0, len(questions), BLOCK):
        block = questions[start : start + BLOCK]
        for search, taken in zip(searches, costs, strict=True):
            cost = meter.local(partial(_ask_all, search, block))
            taken.append(1000 * cost.cpu / len(block))
    return [statistics.median(taken) for taken in costs]


def _ask_all(search: Search, questions: NDArray[np.float32]) -> None:
    for question in questions:
        search(question)


def _compare(
    meter: Meter,
    ours: Search,
    plain: Plaintext,
    questions: NDArray[np.float32],
    truth: Truth,
) -> dict[str, Any]:
    recall = _recall([ours(question) for question in questions], truth)
    level = plain.reach(recall, questions, truth)
    encrypted, other = map(_quantiles, _times([ours, plain.search], questions))
    cpu, other_cpu = _cpu(meter, [ours, plain.search], questions)
    return {
        "recall_at_10": recall,
        "cpu_ms": cpu,
        "cpu_ratio_to_plaintext_pgvector": round(cpu / other_cpu, 3),
        "plaintext": {
            **level,
            "cpu_ms": other_cpu,
            "ms": {name: 1000 * value for name, value in other.items()},
        },
        "ms": {name: 1000 * value for name, value in encrypted.items()},
        "ratio_to_plaintext_pgvector": {
            name: round(encrypted[name] / other[name], 3) for name in encrypted
        },
    }


def synthetic(rows: int = ROWS) -> dict[str, Any]:
    """Both search modes against plaintext pgvector on ``rows`` clustered vectors."""
    topics = Topics()
    questions = topics.draw(QUESTIONS, 1)
    everything = np.concatenate([batch.vectors for batch in _batches(topics, rows)])
    truth = exact_nearest(everything, questions, K)
    with (
        postgres() as settings,
        _plaintext(settings, topics, rows) as plain,
        psycopg.connect(**settings.conninfo(), autocommit=True) as observer,
    ):
        meter, result = Meter(observer), {}
        for mode in MODES:
            with _encrypted(settings, mode, topics, rows) as search:
                result[mode] = _compare(meter, search, plain, questions, truth)
    return {"rows": rows, "questions": QUESTIONS, **result}


def run() -> dict[str, Any]:
    """The ``search`` object of the contract: the worst recall of all sets, the ratios of the large
    one, and what they are made of."""
    xquad = bench_xquad.run()
    large = synthetic()
    languages = [figures for figures in xquad.values() if isinstance(figures, dict)]
    recall = {
        mode: min(
            [large[mode]["recall_at_10"], *(each["recall_at_10"][mode] for each in languages)]
        )
        for mode in MODES
    }
    ratios = {mode: large[mode]["ratio_to_plaintext_pgvector"] for mode in MODES}
    return {
        "recall_at_10": recall,
        "ratio_to_plaintext_pgvector": ratios["database"],
        "ratio_to_plaintext_pgvector_enclave": ratios["enclave"],
        "synthetic": large,
        "xquad": xquad,
    }
