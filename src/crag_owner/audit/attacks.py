"""Every attack on one choice of scheme and factor, each scored against the truth afterwards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from crag_owner.audit import blind, known_pairs, neighbours, shuffle
from crag_owner.audit.findings import NONE, ROTATION, SHUFFLE, Finding
from crag_owner.audit.linear import Indices, Matrix, best_products, hit_rate, nearest
from crag_owner.audit.schemes import perturbed, shuffled
from crag_owner.audit.subject import Subject

PairAttack = Callable[[Matrix, Indices, Matrix, Matrix], Indices]

_FITS: tuple[tuple[str, PairAttack], ...] = (
    ("procrustes", known_pairs.by_procrustes),
    ("centred procrustes", known_pairs.by_centred_procrustes),
    ("ridge", known_pairs.by_ridge),
    ("anchors", known_pairs.by_anchors),
    ("regression", known_pairs.by_regression),
)
ICP_MOST_PAIRS = 128


@dataclass(frozen=True)
class Encrypted:
    """The subject under one approximation factor of the rotation.

    ``rows`` are the owner's, ``foreign`` the foreign texts under the same key (an attacker can have
    them ingested), ``again`` the owner's once more, as rows of other ids.
    """

    factor: float
    rows: Matrix
    foreign: Matrix | None
    again: Matrix


def pair_counts(dimension: int, available: int) -> list[int]:
    """From 4 known pairs to 4d, as far as nine tenths of the rows reach."""
    fixed = [4, 8, 16, 24, 32, 64, 128]
    relative = [dimension // 4, dimension // 2, dimension, 2 * dimension, 4 * dimension]
    return sorted({k for k in fixed + relative if 4 <= k <= 0.9 * available})


def without_rotation(
    subject: Subject, factor: float, rng: np.random.Generator
) -> Iterator[Finding]:
    """Scale and noise only: compare with the candidates."""
    begun = time.monotonic()
    rows = perturbed(subject.plain, factor, rng)
    found = best_products(rows, subject.candidates)
    yield Finding(
        "candidates",
        "nearest candidate",
        NONE,
        factor,
        "a list of candidate texts",
        hit_rate(found, subject.order),
        1.0 / len(subject.candidates),
        seconds=time.monotonic() - begun,
    )


def behind_shuffle(subject: Subject, factor: float, rng: np.random.Generator) -> Iterator[Finding]:
    """A keyed coordinate shuffle; the attacker's own texts are the other half of the owner's."""
    begun = time.monotonic()
    order = rng.permutation(len(subject.plain))
    own, other = np.array_split(order, 2)
    if len(own) < 2 or len(other) < 2:
        return
    rows = shuffled(subject.plain[own], factor, rng)
    found = shuffle.recover(rows, subject.plain[other], subject.candidates, factor)
    stages = (
        ("mean and variance", found.moments),
        ("+ covariance", found.covariance),
        ("+ closest candidates", found.closest),
    )
    for method, permutation in stages:
        guessed = shuffle.guess(rows, permutation, subject.candidates)
        yield Finding(
            "candidates",
            method,
            SHUFFLE,
            factor,
            "other texts of the collection, and candidates",
            hit_rate(guessed, own),
            1.0 / len(subject.candidates),
            seconds=time.monotonic() - begun,
        )


def with_pairs(
    subject: Subject, encrypted: Encrypted, rng: np.random.Generator
) -> Iterator[Finding]:
    """Known pairs, from 4 to 4d: fitted alone, and as the start of an alignment.

    The fits are asked for all remaining texts, the foreign ones among them; the alignment, which
    feeds on a list of candidates that holds more than the rows, for the owner's remaining rows.
    """
    texts = subject.candidates
    rows = encrypted.rows
    if encrypted.foreign is not None:
        rows = np.concatenate([rows, encrypted.foreign])
    for count in pair_counts(texts.shape[1], len(texts)):
        order = rng.permutation(len(texts))
        known, rest = order[:count], order[count:]
        for method, attack in _FITS:
            yield _paired(method, attack, rows, known, rest, texts, encrypted.factor)
    own = encrypted.rows
    for count in pair_counts(texts.shape[1], len(own)):
        if count > ICP_MOST_PAIRS:
            break
        order = rng.permutation(len(own))
        known, rest = order[:count], order[count:]
        yield _paired(
            "pairs and candidates", known_pairs.by_icp, own, known, rest, texts, encrypted.factor
        )


def _paired(
    method: str,
    attack: PairAttack,
    rows: Matrix,
    known: Indices,
    rest: Indices,
    texts: Matrix,
    factor: float,
) -> Finding:
    begun = time.monotonic()
    found = attack(rows, known, texts[known], texts)
    return Finding(
        "known pairs",
        method,
        ROTATION,
        factor,
        f"{len(known)} known pairs",
        hit_rate(found[rest], rest),
        1.0 / len(texts),
        x=float(len(known)),
        seconds=time.monotonic() - begun,
    )


def without_pairs(
    subject: Subject,
    encrypted: Encrypted,
    rng: np.random.Generator,
    shares: tuple[float, ...],
    *,
    seconds: float,
) -> Iterator[Finding]:
    """No known pair: the attacker has a share of the owner's texts, or texts of the same kind.

    Each attack begins no further round of restarts after ``seconds``.

    Below a share of three quarters, as many other texts of the same collection are added, and only
    what is left of the collection is the owner's; at 0 the two have no text in common.
    """
    count = len(subject.plain)
    for share in shares:
        order = rng.permutation(count)
        if share >= 0.75:
            own, held = order, order[: round(share * count)]
        else:
            # owner n, shared share*n, foreign (1-share)*n, together the collection.
            size = int(count / (2.0 - share))
            own = order[:size]
            held = np.concatenate([order[: round(share * size)], order[size:]])
        held = rng.permutation(held)
        begun = time.monotonic()
        alignment = blind.align(encrypted.rows[own], subject.plain[held], rng, seconds)
        undone = alignment.undo(encrypted.rows[own])
        found = nearest(undone, subject.candidates)
        yield Finding(
            "no pairs",
            "axes, signs, closest points",
            ROTATION,
            encrypted.factor,
            "texts of the same kind, none of the owner's"
            if share == 0.0
            else f"{share:.0%} of the owner's texts",
            hit_rate(found, own),
            1.0 / len(subject.candidates),
            x=share,
            seconds=time.monotonic() - begun,
            note=f"{alignment.agreement:.0%} of the points agree",
        )


def without_key(
    subject: Subject, encrypted: Encrypted, rng: np.random.Generator
) -> Iterator[Finding]:
    """What distances tell, whatever the rotation: duplicates, neighbourhoods, topics."""
    blank = Finding("", "distances", ROTATION, encrypted.factor, "only the database", 0.0, 0.0)
    repeated = neighbours.duplicates(encrypted.rows, encrypted.again)
    yield replace(
        blank, attack="duplicates", method="area under the curve", value=repeated.auc, chance=0.5
    )
    yield replace(
        blank,
        attack="duplicates",
        method="found at 1 % false alarms",
        value=repeated.tpr_at_1_percent,
        chance=0.01,
    )
    yield replace(
        blank,
        attack="distances",
        method="correlation of squared distances",
        value=neighbours.distance_correlation(subject.plain, encrypted.rows, rng),
    )
    for kind, labels in subject.labels.items():
        chance = neighbours.label_chance(labels)
        for votes in (1, 5):
            yield replace(
                blank,
                attack="same label",
                method=f"{kind}, {votes} nearest",
                value=neighbours.same_label(encrypted.rows, labels, votes),
                chance=chance,
                note=f"plaintext {neighbours.same_label(subject.plain, labels, votes):.3f}",
            )


def direct(subject: Subject, encrypted: Encrypted) -> Finding:
    """Candidates against the rotation, without any further knowledge: the rotation's own effect."""
    found = best_products(encrypted.rows, subject.candidates)
    return Finding(
        "candidates",
        "nearest candidate",
        ROTATION,
        encrypted.factor,
        "a list of candidate texts",
        hit_rate(found, subject.order),
        1.0 / len(subject.candidates),
    )
