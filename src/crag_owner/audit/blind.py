"""The attack on a rotation without any known pair.

The attacker embeds texts of their own that resemble or overlap the owner's. Both point clouds have
principal axes. Skewness tells the signs of the axes, restarts try others where it is weak; matching
the clouds in the leading axes, then in all, recovers the rotation. Axes after Liu, Giannella,
Kargupta (PKDD 2006), iterative closest points after Besl and McKay (1992). Restarts are judged by
what the attacker sees: the share of points of both clouds that choose each other.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from crag_owner.audit.linear import Indices, Matrix, mutual, principal, procrustes

LEADING_AXES = 16
RESTARTS = 48
KEPT = 3
ROUNDS = 3
ENOUGH = 0.55
_SKEW_SCALE = 0.15


@dataclass(frozen=True)
class Alignment:
    """What the attacker ends with: ``(row - row_mean) @ matrix + text_mean`` estimates a plaintext.

    ``agreement`` is the share of mutual nearest neighbours, the attacker's own measure of success.
    """

    row_mean: Matrix
    text_mean: Matrix
    matrix: Matrix
    agreement: float

    def undo(self, rows: Matrix) -> Matrix:
        """Estimated plaintext vectors of ciphertexts, float32[n, d]."""
        return np.asarray((rows - self.row_mean) @ self.matrix + self.text_mean, dtype=np.float32)


@dataclass(frozen=True)
class _Match:
    left: Indices
    right: Indices
    agreement: float


def align(
    rows: Matrix, texts: Matrix, rng: np.random.Generator, seconds: float = 20.0
) -> Alignment:
    """The rotation between two clouds that need not be of the same size.

    Args:
        rows: ciphertexts float32[n, d].
        texts: vectors of the attacker's own texts float32[m, d].
        rng: chooses the restarts.
        seconds: no further round of restarts begins after so long.
    """
    row_mean, text_mean = rows.mean(axis=0), texts.mean(axis=0)
    row_axes = principal(rows - row_mean)[1]
    text_axes = principal(texts - text_mean)[1]
    left, right = (rows - row_mean) @ row_axes, (texts - text_mean) @ text_axes
    signs, doubt = _signs(left, right)
    deadline = time.monotonic() + seconds
    best: tuple[float, Matrix] | None = None
    for turn in range(ROUNDS):
        starts = []
        for restart in range(RESTARTS):
            tried = signs.copy()
            if turn or restart:
                tried[rng.random(len(signs)) < doubt] *= -1
            starts.append(_settle(left, right, tried))
        starts.sort(key=lambda match: -match.agreement)
        for match in starts[:KEPT]:
            grown = _grow(left, right, match)
            if best is None or grown[0] > best[0]:
                best = grown
        if best is not None and (best[0] >= ENOUGH or time.monotonic() > deadline):
            break
    if best is None:
        raise RuntimeError("no restart was tried")
    matrix = np.asarray(row_axes @ best[1] @ text_axes.T, dtype=np.float32)
    return Alignment(row_mean, text_mean, matrix, best[0])


def _signs(left: Matrix, right: Matrix) -> tuple[Matrix, Matrix]:
    """The likelier sign of each leading axis, and for each the chance that a restart flips it."""
    count = min(LEADING_AXES, left.shape[1])
    skew_left, skew_right = _skewness(left[:, :count]), _skewness(right[:, :count])
    signs = np.where(skew_left * skew_right >= 0, 1.0, -1.0).astype(np.float32)
    certainty = np.minimum(np.abs(skew_left), np.abs(skew_right))
    doubt = np.asarray(0.5 * np.exp(-certainty / _SKEW_SCALE), dtype=np.float32)
    return signs, doubt


def _skewness(centred: Matrix) -> Matrix:
    second = (centred**2).mean(axis=0)
    return np.asarray((centred**3).mean(axis=0) / (second**1.5 + 1e-12), dtype=np.float32)


def _settle(left: Matrix, right: Matrix, signs: Matrix, rounds: int = 12) -> _Match:
    """Iterative closest points within the leading axes, from one choice of signs."""
    count = len(signs)
    near, far = left[:, :count], right[:, :count]
    rotation = np.diag(signs)
    rows, columns, _ = mutual(near @ rotation, far)
    for _ in range(rounds):
        before = rotation
        rotation = procrustes(near[rows], far[columns])
        if np.allclose(before, rotation, atol=1e-4):
            break
        rows, columns, _ = mutual(near @ rotation, far)
    return _Match(rows, columns, len(rows) / min(len(left), len(right)))


def _grow(left: Matrix, right: Matrix, match: _Match) -> tuple[float, Matrix]:
    """Extend a match from the leading axes to all of them; its agreement and rotation [d, d]."""
    dimension = left.shape[1]
    stages = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0]
    widths = sorted({min(dimension, int(LEADING_AXES * stage)) for stage in stages} - {dimension})
    rows, columns = match.left, match.right
    for width in widths:
        near, far = left[:, :width], right[:, :width]
        for _ in range(4):
            rows, columns, _ = mutual(near @ procrustes(near[rows], far[columns]), far)
    rotation = procrustes(left[rows], right[columns])
    for _ in range(20):
        before = columns
        rows, columns, _ = mutual(left @ rotation, right)
        rotation = procrustes(left[rows], right[columns])
        if np.array_equal(before, columns):
            break
    return len(rows) / min(len(left), len(right)), rotation
