"""Runs in the peers' environment: measures a peer's own documented way, asked by lines of JSON.

Every answer has ``cpu`` and ``wall`` in seconds for what was measured alone, without preparation.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import synthetic

_OPEN: dict[str, Any] = {}


def _timed(work: Callable[[], object]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def ironcore(dimension: int, rows: int, batch: bool) -> dict[str, float]:
    """Encrypt ``rows`` vectors with ironcore-alloy, one call each or one call for all."""
    import ironcore_alloy as alloy

    if "alloy" not in _OPEN:
        secret = alloy.StandaloneSecret(1, alloy.Secret(os.urandom(32)))
        _OPEN["alloy"] = alloy.Standalone(
            alloy.StandaloneConfiguration(
                alloy.StandardSecrets(None, []),
                {},
                {"": alloy.VectorSecret(1.0, alloy.RotatableSecret(secret, None))},
            )
        ).vector()
    client, metadata = _OPEN["alloy"], alloy.AlloyMetadata.new_simple("bench")
    drawn = np.random.default_rng(dimension).standard_normal((rows, dimension))
    plain = {
        str(number): alloy.PlaintextVector(
            plaintext_vector=row.tolist(), secret_path="", derivation_path="bench"
        )
        for number, row in enumerate(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))
    }

    async def one_by_one() -> None:
        for vector in plain.values():
            await client.encrypt(vector, metadata)

    async def at_once() -> None:
        found = await client.encrypt_batch(plain, metadata)
        assert len(found.successes) == rows

    return _timed(lambda: asyncio.run(at_once() if batch else one_by_one()))


def langchain_open(url: str, table: str) -> dict[str, float]:
    """A table and a store of langchain-postgres in it, kept open for :func:`langchain_add`."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_postgres import PGEngine, PGVectorStore

    engine = PGEngine.from_connection_string(url, pool_size=1)
    engine.init_vectorstore_table(table, synthetic.DIMENSION)
    _OPEN["store"] = PGVectorStore.create_sync(
        engine, DeterministicFakeEmbedding(size=synthetic.DIMENSION), table
    )
    return {}


def langchain_add(rows: int, seed: int) -> dict[str, float]:
    """``PGVectorStore.add_embeddings`` of the rows of ``seed`` in plaintext."""
    store = _OPEN["store"]
    vectors = synthetic.Topics().draw(rows, seed).tolist()
    texts = synthetic.texts(rows, seed)
    metadata = [{"source": f"{seed}/{n // 20}", "index": n % 20} for n in range(rows)]
    ids = [str(uuid.uuid4()) for _ in range(rows)]
    return _timed(lambda: store.add_embeddings(texts, vectors, metadata, ids))


OPERATIONS = {each.__name__: each for each in (ironcore, langchain_open, langchain_add)}


def main() -> None:
    """Answer requests until stdin ends."""
    for line in sys.stdin:
        request = json.loads(line)
        answer = OPERATIONS[request.pop("operation")](**request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
