"""The vector cipher against its floor, one matrix product, and against ironcore-alloy's Python API.

All are measured alternately in one run with one thread each, by CPU time, so that other work on
the machine disturbs neither the figures nor the ratios. The peer runs in a process of its own.
Where the compiled kernel is installed, the cipher is measured with it and with numpy alone.
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
def _material(dimension: int) -> tuple[Any, list[bytes], list[Any], Any]:
    import numpy as np

    from crag_core.vectors import VectorCipher
    from crag_core.vectors.arithmetic import NumpyArithmetic

    rows = VALUES // dimension
    drawn = np.random.default_rng(dimension).standard_normal((rows, dimension))
    vectors = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    key, salt = os.urandom(32), os.urandom(32)
    ciphers = [
        VectorCipher.from_master_key(
            key, collection="bench", salt=salt, dimension=dimension, arithmetic=arithmetic
        )
        for arithmetic in (None, NumpyArithmetic())
    ]
    matrix = ciphers[0].rotate(np.eye(dimension, dtype=np.float32))
    return vectors, [os.urandom(16) for _ in range(rows)], ciphers, matrix


def _rate(work: Callable[[], object], rows: int) -> float:
    begun = time.process_time()
    work()
    return rows / (time.process_time() - begun)


def encrypt_rate(dimension: int, *, by_numpy: bool = False) -> float:
    """Vectors per second of CPU time that one thread encrypts, from float32 to float16 and IVs.

    Args:
        dimension: of the vectors.
        by_numpy: without the compiled kernel, even where it is installed.
    """
    vectors, ids, ciphers, _ = _material(dimension)
    return _rate(lambda: ciphers[by_numpy].encrypt(vectors, ids), len(ids))


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

    ``ratio_to_gemm_floor`` is time over time: 1.0 would be a dense rotation and nothing else.
    ``ratio_to_ironcore`` is rate over rate for one call per vector, ``..._batch`` for one call for
    all of them. ``kernel`` says whether the compiled kernel was measured; ``numpy`` has the figures
    without it.
    """
    ours, plain, floor, single, batched = [], [], [], [], []
    for _ in range(rounds + 1):
        ours.append(encrypt_rate(dimension))
        plain.append(encrypt_rate(dimension, by_numpy=True))
        floor.append(gemm_rate(dimension))
        if peer is not None:
            single.append(peer_rate(peer, dimension, batch=False))
            batched.append(peer_rate(peer, dimension, batch=True))

    def ratio(above: list[float], below: list[float]) -> float | None:
        # the first round warms caches up and is not counted
        found = [a / b for a, b in zip(above[1:], below[1:], strict=bool(below))]
        return round(statistics.median(found), 3) if found else None

    def figures(rates: list[float]) -> dict[str, Any]:
        return {
            "vectors_per_s": round(statistics.median(rates[1:])),
            "ratio_to_ironcore": ratio(rates, single),
            "ratio_to_gemm_floor": ratio(floor, rates),
            "ratio_to_ironcore_batch": ratio(rates, batched),
        }

    kernel = _material(dimension)[2][0].compiled
    return {"kernel": kernel, **figures(ours), "numpy": figures(plain)}


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
