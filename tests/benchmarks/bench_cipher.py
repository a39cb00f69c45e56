"""The vector cipher against its floor, one matrix product, and against ironcore-alloy's Python API.

All are measured alternately in one run with one thread each, by CPU time, so that other work on
the machine disturbs neither the figures nor the ratios. The peer runs in a process of its own.
"""

from __future__ import annotations

import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from peers import ONE_THREAD, Peer, environment

DIMENSIONS = (384, 768, 1024, 1536)
ROUNDS = 9
VALUES = 2_000_000
# Vectors that the peer encrypts in one round; it takes milliseconds for each.
PEER_ROWS = 40


@functools.cache
def _material(dimension: int) -> tuple[Any, list[bytes], Any, Any]:
    import numpy as np

    from crag_core.vectors import VectorCipher

    rows = VALUES // dimension
    drawn = np.random.default_rng(dimension).standard_normal((rows, dimension))
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    cipher = VectorCipher.from_master_key(
        os.urandom(32), collection="bench", salt=os.urandom(32), dimension=dimension
    )
    matrix = cipher.rotate(np.eye(dimension, dtype=np.float32))
    return vectors, [os.urandom(16) for _ in range(rows)], cipher, matrix


def _rate(work: Callable[[], object], rows: int) -> float:
    begun = time.process_time()
    work()
    return rows / (time.process_time() - begun)


def encrypt_rate(dimension: int) -> float:
    """Vectors per second of CPU time that one thread encrypts, from float32 to float16 and IVs.

    Args:
        dimension: of the vectors.
    """
    vectors, ids, cipher, _ = _material(dimension)
    return _rate(lambda: cipher.encrypt(vectors, ids), len(ids))


def gemm_rate(dimension: int) -> float:
    """Vectors per second of CPU time that one thread multiplies by a dense float32 matrix.

    Args:
        dimension: of the vectors.
    """
    import numpy as np

    vectors, ids, _, matrix = _material(dimension)
    output = np.zeros_like(vectors)
    return _rate(lambda: np.matmul(vectors, matrix, out=output), len(ids))


def peer_rate(peer: Peer, dimension: int, *, batch: bool) -> float:
    """Vectors per second of CPU time that ironcore-alloy encrypts."""
    answer = peer.ask("ironcore", dimension=dimension, rows=PEER_ROWS, batch=batch)
    return PEER_ROWS / float(answer["cpu"])


def measure(dimension: int, peer: Peer | None, rounds: int = ROUNDS) -> dict[str, Any]:
    """One dimension: the median rate and the medians of the ratios of each round.

    ``ratio_to_gemm_floor`` is time over time: 1.0 would be a rotation and nothing else.
    ``ratio_to_ironcore`` is rate over rate for one call per vector, ``..._batch`` for one call for
    all of them.
    """
    ours, floor, single, batched = [], [], [], []
    for _ in range(rounds + 1):
        ours.append(encrypt_rate(dimension))
        floor.append(gemm_rate(dimension))
        if peer is not None:
            single.append(peer_rate(peer, dimension, batch=False))
            batched.append(peer_rate(peer, dimension, batch=True))

    def ratio(above: list[float], below: list[float]) -> float | None:
        # the first round warms caches up and is not counted
        found = [a / b for a, b in zip(above[1:], below[1:], strict=bool(below))]
        return round(statistics.median(found), 3) if found else None

    return {
        "vectors_per_s": round(statistics.median(ours[1:])),
        "ratio_to_ironcore": ratio(ours, single),
        "ratio_to_gemm_floor": ratio(floor, ours),
        "ratio_to_ironcore_batch": ratio(ours, batched),
    }


def _measure_all() -> dict[str, Any]:
    python = environment()
    with Peer(python) if python else nullcontext() as peer:
        return {str(dimension): measure(dimension, peer) for dimension in DIMENSIONS}


def run() -> dict[str, Any]:
    """The ``cipher`` object of the contract, measured in a process with one BLAS thread."""
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, **ONE_THREAD},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=1200,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure_all()) + "\n")
