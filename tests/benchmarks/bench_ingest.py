"""Writing rows that are already embedded: encrypted by crag, and in plaintext by its peers.

The same texts and vectors are written in one transaction each round: by ``put_documents`` (vectors
encrypted, texts and documents sealed, set hash and snapshot renewed), by psycopg's ``executemany``
of ``%s::vector``, by a binary COPY, and by ``PGVectorStore.add_embeddings`` of langchain-postgres.
The ratios compare CPU time of client and database together; ``wall`` has those of elapsed time.
Each contender counts with the least that it cost in any round: what a busy machine adds is never
negative (as the standard library's ``timeit`` argues). ``median`` has the medians of the rounds'
own ratios, which are lower on a busy machine.
"""

from __future__ import annotations

import json
import statistics
import struct
import uuid
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from peers import Peer, environment
from server import Cost, Meter, postgres, sqlalchemy_url
from synthetic import DIMENSION, Topics, texts

ROWS = 2_000
CHUNKS = 20
ROUNDS = 15
_PLAIN = (
    "CREATE TABLE {} (id uuid PRIMARY KEY, content text, metadata jsonb, embedding vector(384))"
)
_INSERT = "INSERT INTO {} VALUES (%s, %s, %s, %s::vector)"
_COPY = "COPY {} (id, content, metadata, embedding) FROM STDIN (FORMAT BINARY)"
_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)


class Rows:
    """The rows of one round: texts, unit vectors and metadata.

    Args:
        topics: where the vectors are drawn from.
        seed: of the round.
    """

    def __init__(self, topics: Topics, seed: int, count: int = ROWS) -> None:
        self.seed = seed
        self.vectors: NDArray[np.float32] = topics.draw(count, seed)
        self.texts = texts(count, seed)
        self.ids = [uuid.uuid4() for _ in range(count)]
        self.places = [(f"{seed}/{n // CHUNKS}", n % CHUNKS) for n in range(count)]

    def metadata(self) -> list[str]:
        """JSON of the source and the place within it."""
        return [json.dumps({"source": source, "index": at}) for source, at in self.places]


def drafts(collection: Any, rows: Rows) -> list[Any]:
    """The rows as documents of 20 chunks each, as the ingest hands them over."""
    from crag_core.collection import ChunkDraft, DocumentDraft

    made = []
    for start in range(0, len(rows.texts), CHUNKS):
        part = range(start, min(start + CHUNKS, len(rows.texts)))
        source = rows.places[start][0]
        made.append(
            DocumentDraft(
                source=source,
                content_tag=collection.content_tag(source.encode()),
                chunks=[ChunkDraft(rows.texts[n], rows.vectors[n]) for n in part],
            )
        )
    return made


def executemany(connection: psycopg.Connection[Any], table: str, rows: Rows) -> None:
    """Plaintext, vectors as text, formatted as langchain-postgres does it, which is how the figure
    that this is held against was measured; ``str(vector)`` alone would spare it some 5 %.
    """
    parameters = [
        (identity, text, metadata, str([float(dimension) for dimension in vector]))
        for identity, text, metadata, vector in zip(
            rows.ids, rows.texts, rows.metadata(), rows.vectors.tolist(), strict=True
        )
    ]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(_INSERT.format(table), parameters)


def copy_binary(connection: psycopg.Connection[Any], table: str, rows: Rows) -> None:
    """Plaintext by binary COPY, the stream built by hand: the floor of any ingest."""
    stream = encode_plain(rows.ids, rows.texts, rows.metadata(), rows.vectors)
    with (
        connection.transaction(),
        connection.cursor() as cursor,
        cursor.copy(_COPY.format(table)) as copy,
    ):
        copy.write(stream)


def encode_plain(
    ids: Sequence[uuid.UUID],
    contents: Sequence[str],
    metadata: Sequence[str],
    vectors: NDArray[np.float32],
) -> bytes:
    """A COPY BINARY stream of id, content, metadata and embedding."""
    size = vectors.shape[1]
    big = vectors.astype(">f4")
    parts = [_HEADER]
    vector_head = struct.pack(">ihh", 4 * size + 4, size, 0)
    for identity, content, data, vector in zip(ids, contents, metadata, big, strict=True):
        text, json_text = content.encode(), data.encode()
        parts += (
            struct.pack(">hi", 4, 16),
            identity.bytes,
            struct.pack(">i", len(text)),
            text,
            struct.pack(">iB", len(json_text) + 1, 1),
            json_text,
            vector_head,
            vector.tobytes(),
        )
    parts.append(b"\xff\xff")
    return b"".join(parts)


def _round(
    meter: Meter,
    collection: Any,
    connection: psycopg.Connection[Any],
    peer: Peer | None,
    rows: Rows,
) -> dict[str, Cost]:
    costs = {}
    ready = drafts(collection, rows)
    costs["crag"] = meter.local(lambda: collection.put_documents(ready))
    costs["copy"] = meter.local(lambda: copy_binary(connection, "bench_copy", rows))
    costs["executemany"] = meter.local(lambda: executemany(connection, "bench_many", rows))
    if peer is not None:
        costs["langchain"] = meter.peer(
            lambda: peer.ask("langchain_add", rows=ROWS, seed=rows.seed)
        )
    return costs


Ratio = Callable[[Sequence[float], Sequence[float]], float]


def _of_the_least(above: Sequence[float], below: Sequence[float]) -> float:
    return min(above) / min(below)


def _in_the_middle(above: Sequence[float], below: Sequence[float]) -> float:
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def summary(
    rounds: Sequence[dict[str, Cost]], kind: str, ratio: Ratio = _of_the_least
) -> dict[str, float | None]:
    """The contract's three ratios by ``cpu`` or ``wall``: ``executemany`` and langchain over crag,
    where above 1 crag is faster, and crag over COPY, where it is slower."""

    def compared(above: str, below: str) -> float | None:
        if above not in rounds[0] or below not in rounds[0]:
            return None
        costs = [[getattr(each[name], kind) for each in rounds] for name in (above, below)]
        return round(ratio(*costs), 3)

    return {
        "ratio_to_executemany_plaintext": compared("executemany", "crag"),
        "ratio_to_copy_plaintext": compared("crag", "copy"),
        "ratio_to_langchain_pgvector": compared("langchain", "crag"),
    }


def run() -> dict[str, Any]:
    """The ``ingest`` object of the contract."""
    from crag_core.collection import Collection
    from crag_core.keys import MasterKey
    from crag_core.store.options import open_store

    topics, python = Topics(), environment()
    with postgres() as settings, open_store(settings) as store:
        collection = Collection.create(
            store, "bench", MasterKey.generate(), dimension=DIMENSION, embedder="synthetic"
        )
        information = settings.conninfo()
        with (
            psycopg.connect(**information, autocommit=True) as connection,
            psycopg.connect(**information, autocommit=True) as observer,
            Peer(python) if python else nullcontext() as peer,
        ):
            for table in ("bench_copy", "bench_many"):
                connection.execute(_PLAIN.format(table))
            if peer is not None:
                peer.ask("langchain_open", url=sqlalchemy_url(settings), table="bench_langchain")
            meter = Meter(observer)
            rounds = [
                _round(meter, collection, connection, peer, Rows(topics, seed))
                for seed in range(ROUNDS + 1)
            ][1:]
    return {
        **summary(rounds, "cpu"),
        "wall": summary(rounds, "wall"),
        "median": {kind: summary(rounds, kind, _in_the_middle) for kind in ("cpu", "wall")},
        "cpu_us_per_row": {
            name: round(min(each[name].cpu for each in rounds) / ROWS * 1e6, 1)
            for name in rounds[0]
        },
    }
