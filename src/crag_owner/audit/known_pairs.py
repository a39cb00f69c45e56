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
    squared_distances,
    unit,
)

ICP_ROUNDS = 30
LEAST_NOISE = 1e-6


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


def by_regression(rows: Matrix, known: Indices, texts: Matrix, candidates: Matrix) -> Indices:
    """Predict each candidate's row from the pairs; take the candidate that makes the row likeliest.

    Bayesian linear regression (Rasmussen and Williams, "Gaussian Processes for Machine Learning",
    2006, section 2.1): the entries of the map are normal with variance 1/d, which fits a rotation,
    and the noise is what squared norms exceed 1 by. What few pairs leave unknown of a candidate
    widens its prediction instead of pulling it to a wrong place, so this needs the fewest pairs.
    """
    dimension = rows.shape[1]
    noise = max(float(np.einsum("ij,ij->i", rows, rows).mean()) - 1.0, LEAST_NOISE)
    mean_row, mean_text = rows[known].mean(axis=0), texts.mean(axis=0)
    given = (texts - mean_text).astype(np.float64)
    wanted = (candidates - mean_text).astype(np.float64)
    gram = given @ given.T
    gram[np.diag_indices_from(gram)] += noise
    shared = given @ wanted.T
    weights = np.linalg.solve(gram, shared)
    predicted = (weights.T @ (rows[known] - mean_row)).astype(np.float32)
    unknown = np.einsum("ij,ij->i", wanted, wanted) - np.einsum("ij,ij->j", shared, weights)
    spread = ((noise + np.maximum(unknown, 0.0)) / dimension).astype(np.float32)
    unlikely = squared_distances(rows - mean_row, predicted)
    unlikely /= spread
    unlikely += dimension * np.log(spread)
    return np.asarray(unlikely.argmin(axis=1), dtype=np.intp)


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
