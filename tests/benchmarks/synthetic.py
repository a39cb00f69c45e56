"""Rows to measure with: clustered vectors with the geometry of e5 embeddings, and texts.

Text embeddings of the e5 family lie in a narrow cone (norm of the mean 0.90), spread by 0.187 in
total variance over an effective rank of about 110 of 384 dimensions, and cluster by topic and
sub-topic. These are drawn the same way: nested topics of Zipf-distributed size, each level adding
a share of that covariance. Everything is a function of a seed, so that two processes draw the same.
Only numpy is imported: the environment of the peers uses this module too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DIMENSION = 384
MEAN_NORM = 0.905
VARIANCE = 0.192
# Groups per level, and the share of the variance that separates them; the rest is each row's own.
LEVELS = ((40, 0.32), (1_200, 0.25), (12_000, 0.14))
OWN_SHARE = 0.29
_WORDS = 4_096


class Topics:
    """A distribution of unit vectors float32[n, 384] from which rows and questions are drawn.

    Args:
        seed: of the topics; :meth:`draw` has one of its own.
    """

    def __init__(self, seed: int = 7) -> None:
        random = np.random.default_rng(seed)
        basis = np.linalg.qr(random.standard_normal((DIMENSION, DIMENSION)))[0]
        spectrum = (np.arange(DIMENSION) + 12.0) ** -1.15
        spectrum *= VARIANCE / spectrum.sum()
        self._factor = (basis * np.sqrt(spectrum)).astype(np.float32)
        mean = random.standard_normal(DIMENSION)
        self._mean = (mean * (MEAN_NORM / np.linalg.norm(mean))).astype(np.float32)
        self._centres = np.zeros((1, DIMENSION), dtype=np.float32)
        for groups, share in LEVELS:
            parents = _zipf(random, groups, len(self._centres))
            self._centres = self._centres[parents] + self._spread(random, groups, share)

    def draw(self, rows: int, seed: int) -> NDArray[np.float32]:
        """``rows`` unit vectors, float32[rows, 384], a function of ``seed``."""
        random = np.random.default_rng(seed)
        vectors = np.empty((rows, DIMENSION), dtype=np.float32)
        for start in range(0, rows, 10_000):
            count = min(10_000, rows - start)
            groups = _zipf(random, count, len(self._centres))
            own = self._spread(random, count, OWN_SHARE)
            # Some rows lie close to their topic and some far: the density has no gaps.
            own *= random.uniform(0.55, 1.3, (count, 1)).astype(np.float32)
            part = self._mean + self._centres[groups] + own
            vectors[start : start + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
        return vectors

    def _spread(self, random: np.random.Generator, rows: int, share: float) -> NDArray[np.float32]:
        drawn = random.standard_normal((rows, DIMENSION), dtype=np.float32)
        spread: NDArray[np.float32] = (drawn @ self._factor.T) * np.float32(np.sqrt(share))
        return spread


def _zipf(random: np.random.Generator, count: int, groups: int) -> NDArray[np.intp]:
    weights = (np.arange(groups) + 8.0) ** -0.7
    return random.choice(groups, size=count, p=weights / weights.sum())


def texts(rows: int, seed: int, size: int = 600) -> list[str]:
    """``rows`` texts of ``size`` letters, a function of ``seed``."""
    random = np.random.default_rng(seed)
    letters = random.integers(97, 123, size=(_WORDS, 7), dtype=np.uint8)
    words = np.array([word.tobytes().decode("ascii") for word in letters])
    picks = random.integers(0, _WORDS, size=(rows, size // 8 + 1))
    return [" ".join(line)[:size] for line in words[picks]]


def exact_nearest(
    rows: NDArray[np.float32], questions: NDArray[np.float32], k: int = 10
) -> NDArray[np.intp]:
    """Indices [q, k] of the rows with the largest inner products, best first."""
    scores = questions @ rows.T
    top = np.argpartition(-scores, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1)
    found: NDArray[np.intp] = np.take_along_axis(top, order, axis=1)
    return found
