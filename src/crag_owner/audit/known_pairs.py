"""Attacks of whoever knows the texts behind some rows, because they wrote or guessed them.

A rotation is one linear map, so pairs of plaintext and ciphertext determine it (Liu, Giannella,
Kargupta, "An attacker's view of distance preserving maps", PKDD 2006). The attacker has the rows,
the pairs, and a list of candidate texts; each function returns the candidate guessed for each row.
"""

from __future__ import annotations

import numpy as np

from crag_owner.audit.linear import (
    Indices,
    Matrix,
    best_products,
    mutual,
    nearest,
    procrustes,
    ridge,
    unit,
)

ICP_ROUNDS = 30


def by_procrustes(rows: Matrix, known: Indices, texts: Matrix, candidates: Matrix) -> Indices:
    """Fit the rotation to the pairs, undo it, take the candidate of the greatest inner product.

    Args:
        rows: ciphertexts float32[n, d].
        known: indices [k] of the rows whose texts the attacker knows.
        texts: their plaintext vectors float32[k, d].
        candidates: float32[m, d], unit norm.

    Returns:
        Index of a candidate for each row, [n].
    """
    undone = rows @ procrustes(rows[known], texts)
    return best_products(undone, candidates)


def by_centred_procrustes(
    rows: Matrix, known: Indices, texts: Matrix, candidates: Matrix
) -> Indices:
    """As :func:`by_procrustes` on what is left without the pairs' means, compared by cosine.

    Where few pairs leave most directions unknown, this is the stronger attack.
    """
    mean_row, mean_text = rows[known].mean(axis=0), texts.mean(axis=0)
    rotation = procrustes(rows[known] - mean_row, texts - mean_text)
    undone = (rows - mean_row) @ rotation
    return best_products(undone, unit(candidates - mean_text))


def by_ridge(rows: Matrix, known: Indices, texts: Matrix, candidates: Matrix) -> Indices:
    """Fit any linear map by ridge regression, penalty 0.1, orthogonal or not."""
    undone = rows @ ridge(rows[known], texts, 0.1)
    return best_products(undone, candidates)


def by_anchors(rows: Matrix, known: Indices, texts: Matrix, candidates: Matrix) -> Indices:
    """Compare inner products with the known points; the rotation need not be found."""
    return nearest(rows @ rows[known].T, candidates @ texts.T)


def by_icp(rows: Matrix, known: Indices, texts: Matrix, candidates: Matrix) -> Indices:
    """Let the pairs start an alignment that the candidates finish (iterative closest points).

    Anchors give the first matches; rows and candidates that choose each other are taken as pairs,
    the rotation is fitted to them, and so on until the matches stay.
    """
    left, right, _ = mutual(rows @ rows[known].T, candidates @ texts.T)
    undone = rows
    for _ in range(ICP_ROUNDS):
        new = ~np.isin(left, known)
        source = np.concatenate([rows[left[new]], rows[known]])
        target = np.concatenate([candidates[right[new]], texts])
        undone = rows @ procrustes(source, target)
        before = right
        left, right, _ = mutual(undone, candidates)
        if np.array_equal(before, right):
            break
    return nearest(undone, candidates)
