"""How vectors look to the database under each scheme that the audit compares.

Only :func:`fresh` and :func:`new_rows` are what crag stores; the others show what the rotation is
for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import numpy as np

from crag_core.vectors import VectorCipher
from crag_owner.audit.linear import Matrix


def ball_noise(rows: int, dimension: int, radius: float, rng: np.random.Generator) -> Matrix:
    """Points of a ball, uniform, float32[rows, dimension]: the perturbation of Scale-And-Perturb.

    The first d coordinates of a uniform point of the sphere in d+2 dimensions are uniform in it.
    """
    normal = rng.standard_normal((rows, dimension + 2), dtype=np.float32)
    normal *= radius / np.linalg.norm(normal, axis=1, keepdims=True)
    return np.asarray(normal[:, :dimension], dtype=np.float32)


def perturbed(vectors: Matrix, beta: float, rng: np.random.Generator) -> Matrix:
    """Scale-And-Perturb without a rotation; scale 1, approximation factor ``beta``."""
    noise = ball_noise(len(vectors), vectors.shape[1], beta / 4.0, rng)
    return np.asarray(vectors + noise, dtype=np.float32)


def shuffled(vectors: Matrix, beta: float, rng: np.random.Generator) -> Matrix:
    """A keyed coordinate shuffle, then Scale-And-Perturb."""
    return perturbed(vectors[:, rng.permutation(vectors.shape[1])], beta, rng)


def fresh(dimension: int, factor: float) -> Callable[[Matrix], Matrix]:
    """Encryption under a random key, rows of random ids."""
    cipher = VectorCipher.from_master_key(
        secrets.token_bytes(32),
        collection="audit",
        salt=secrets.token_bytes(32),
        dimension=dimension,
        approximation_factor=factor,
    )
    return new_rows(cipher)


def new_rows(cipher: VectorCipher) -> Callable[[Matrix], Matrix]:
    """Encryption of unit vectors as rows of new, random ids.

    The result is float32[n, d] as the database would have it, divided by the scaling factor, which
    an attacker reads off the norms.
    """

    def encrypt(vectors: Matrix) -> Matrix:
        ids = [secrets.token_bytes(16) for _ in range(len(vectors))]
        stored = np.asarray(cipher.encrypt(vectors, ids).vectors, dtype=np.float32)
        return np.asarray(stored / np.float32(cipher.scaling_factor), dtype=np.float32)

    return encrypt
