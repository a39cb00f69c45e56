"""Which attacks an audit runs, in which order, within which time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict

import numpy as np

from crag_owner.audit import attacks
from crag_owner.audit.attacks import Encrypted
from crag_owner.audit.findings import SEALED, Finding, Report
from crag_owner.audit.neighbours import label_chance
from crag_owner.audit.schemes import fresh
from crag_owner.audit.sizes import read_together, size_leak
from crag_owner.audit.subject import Subject
from crag_owner.audit.verdict import sentences
from crag_owner.calibrate.measure import noise_to_spread, spread

FACTORS = (0.5, 1.0, 2.0)
SHARES = (1.0, 0.75, 0.5, 0.0)
MIN_ROWS = 32
SECONDS = 240.0
LEAST_SECONDS, MOST_SECONDS = 3.0, 20.0
Progress = Callable[[str], None]


def run(
    subject: Subject,
    *,
    factors: Sequence[float] = FACTORS,
    shares: Sequence[float] = SHARES,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Report:
    """Attack a collection in every way, at its own approximation factor and at others.

    At the collection's own factor the rows are those of the database. At others, and for the
    schemes that crag doesn't store, the same vectors are encrypted under a fresh random key.

    Args:
        subject: the collection; at least :data:`MIN_ROWS` rows.
        factors: approximation factors beside the collection's own.
        shares: of the owner's texts that an attacker without pairs has.
        seed: of the attacker's choices. Keys are always fresh.
        progress: told the name of each step.
    """
    begun = time.monotonic()
    rng = np.random.default_rng(seed)
    report = Report(
        collection=subject.name,
        search_mode=subject.search_mode,
        factor=subject.factor,
        rows=subject.total_rows,
        attacked=len(subject.plain),
        dimension=subject.plain.shape[1],
        candidates=len(subject.candidates),
        rho=noise_to_spread(subject.factor, spread(subject.plain)),
    )
    chosen = sorted({*factors, subject.factor})
    for done, factor in enumerate(chosen):
        progress(f"approximation factor {factor:g}: no rotation, shuffle")
        report.findings += attacks.without_rotation(subject, factor, rng)
        report.findings += attacks.behind_shuffle(subject, factor, rng)
        encrypted = _encrypted(subject, factor)
        progress(f"approximation factor {factor:g}: distances")
        report.findings.append(attacks.direct(subject, encrypted))
        report.findings += attacks.without_key(subject, encrypted, rng)
        progress(f"approximation factor {factor:g}: known pairs")
        report.findings += attacks.with_pairs(subject, encrypted, rng)
        progress(f"approximation factor {factor:g}: no pairs")
        left = (len(chosen) - done) * max(len(shares), 1)
        patience = (begun + SECONDS - time.monotonic()) / left
        report.findings += attacks.without_pairs(
            subject,
            encrypted,
            rng,
            tuple(shares),
            seconds=min(max(patience, LEAST_SECONDS), MOST_SECONDS),
        )
    progress("sizes and access")
    report.sizes = {
        "rows": asdict(size_leak(subject.row_sizes)),
        "documents": asdict(size_leak(subject.document_sizes)),
    }
    report.findings += _sealed(subject)
    report.sentences = sentences(report)
    report.seconds = time.monotonic() - begun
    return report


def _encrypted(subject: Subject, factor: float) -> Encrypted:
    if factor == subject.factor:
        encrypt, rows = subject.encrypt, subject.stored
    else:
        encrypt = fresh(subject.plain.shape[1], factor)
        rows = encrypt(subject.plain)
    foreign = None if subject.foreign is None else encrypt(subject.foreign)
    return Encrypted(factor, rows, foreign, encrypt(subject.plain))


def _sealed(subject: Subject) -> Iterable[Finding]:
    rows = size_leak(subject.row_sizes)
    if rows.items:
        yield Finding(
            "sizes",
            "size of the sealed row",
            SEALED,
            None,
            "all texts",
            rows.identified,
            1.0 / rows.items,
            note=f"{rows.distinct} sizes, {rows.entropy:.1f} bits",
        )
    for kind, labels in subject.labels.items():
        yield Finding(
            "access",
            f"{kind}, rows read for one question",
            SEALED,
            None,
            "which rows are read together, had an enclave to fetch the rows of its hits",
            read_together(subject.plain, labels, 10),
            label_chance(labels),
        )
