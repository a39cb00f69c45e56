"""The vector cipher against its floor: the one matrix product that a secret rotation costs.

Both are measured alternately in one process with one BLAS thread, by CPU time, so that other work
on the machine disturbs neither the figure nor the ratio. ``encrypt_rate`` is what an environment
that has a peer installed calls next to the peer's own rate to fill in ``ratio_to_ironcore``.
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
from typing import Any

DIMENSIONS = (384, 768, 1024, 1536)
ROUNDS = 9
VALUES = 2_000_000
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


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


def measure(dimension: int, rounds: int = ROUNDS) -> dict[str, Any]:
    """One dimension: the median rate and the median of the ratios of each round.

    ``ratio_to_gemm_floor`` is time over time: 1.0 would be a rotation and nothing else.
    """
    encrypt_rate(dimension)
    gemm_rate(dimension)
    pairs = [(encrypt_rate(dimension), gemm_rate(dimension)) for _ in range(rounds)]
    return {
        "vectors_per_s": round(statistics.median(ours for ours, _ in pairs)),
        "ratio_to_ironcore": None,
        "ratio_to_gemm_floor": round(statistics.median(floor / ours for ours, floor in pairs), 3),
    }


def run() -> dict[str, Any]:
    """The ``cipher`` object of the contract, measured in a process with one BLAS thread."""
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, **ONE_THREAD},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


if __name__ == "__main__":
    sys.stdout.write(json.dumps({str(d): measure(d) for d in DIMENSIONS}) + "\n")
