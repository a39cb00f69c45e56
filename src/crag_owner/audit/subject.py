"""The collection under attack: its rows as the database has them, and the truth to score by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from crag_owner.audit.linear import Matrix

Encrypt = Callable[[Matrix], Matrix]


@dataclass(frozen=True)
class Subject:
    """What is attacked.

    Args:
        name: the collection's.
        search_mode: ``database`` or ``enclave``.
        factor: its approximation factor.
        total_rows: rows of the whole collection; the arrays may be a sample of them.
        plain: plaintext vectors float32[n, d], unit norm.
        stored: the same rows as stored, float32[n, d], divided by the scaling factor.
        encrypt: encrypts unit vectors as new rows of the same collection, float32[k, d].
        labels: per kind of label (``document``, or an attribute) one value for each row.
        foreign: vectors float32[f, d] of texts that are not the owner's but that the attacker has.
        row_sizes: ciphertext bytes of each row.
        document_sizes: ciphertext bytes of each document's description.
    """

    name: str
    search_mode: str
    factor: float
    total_rows: int
    plain: Matrix
    stored: Matrix
    encrypt: Encrypt
    labels: Mapping[str, Sequence[object]] = field(default_factory=dict)
    foreign: Matrix | None = None
    row_sizes: Sequence[int] = ()
    document_sizes: Sequence[int] = ()

    @property
    def candidates(self) -> Matrix:
        """All texts that the attacker could think of: the owner's first, then the foreign ones."""
        if self.foreign is None:
            return self.plain
        return np.concatenate([self.plain, self.foreign])

    @property
    def order(self) -> NDArray[np.intp]:
        """The right candidate of each row."""
        return np.arange(len(self.plain))
