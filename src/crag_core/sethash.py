"""A set hash that follows changes: add and remove elements in the cost of those elements alone.

LtHash16 of Lewi, Kim, Maykov, Weis, "Securing Update Propagation with Homomorphic Hashing"
(IACR ePrint 2019/227): every element is expanded to 1024 numbers of 16 bits, the state is their
sum modulo 2^16. Order does not matter; removing undoes adding. The expansion is SHAKE256 keyed with
the collection's ``sethash`` key, so that nobody else can even evaluate it.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from crag_core.errors import IntegrityViolated
from crag_core.keys import lp

LANES = 1024
STATE_BYTES = 2 * LANES
LABEL = b"crag/sethash/v1"
_BATCH = 512


class SetHash:
    """A mutable set hash; elements must be distinct (65 536 equal ones would cancel out).

    Args:
        key: 32 bytes, purpose ``sethash``.
    """

    __slots__ = ("_prefix", "_sum")

    def __init__(self, key: bytes) -> None:
        self._prefix = hashlib.shake_256(lp(LABEL) + lp(key))
        self._sum: NDArray[np.uint16] = np.zeros(LANES, dtype="<u2")

    @classmethod
    def from_state(cls, key: bytes, state: bytes) -> SetHash:
        """Go on from a stored state.

        Raises:
            IntegrityViolated: the state has not 2048 bytes.
        """
        if len(state) != STATE_BYTES:
            raise IntegrityViolated(
                f"A stored set hash has {len(state)} bytes; {STATE_BYTES} are expected.",
                hint="The snapshot was damaged; verify the collection.",
            )
        made = cls(key)
        made._sum = np.frombuffer(state, dtype="<u2").copy()
        return made

    def add(self, elements: Iterable[bytes]) -> None:
        """Add each element."""
        for total in self._sums(elements):
            self._sum += total

    def remove(self, elements: Iterable[bytes]) -> None:
        """Remove each element, which must have been added before."""
        for total in self._sums(elements):
            self._sum -= total

    def state(self) -> bytes:
        """The sum: 1024 little-endian 16-bit numbers, 2048 bytes."""
        return self._sum.tobytes()

    def digest(self) -> bytes:
        """32 bytes: SHA-256 of :meth:`state`; the root that a snapshot signs."""
        return hashlib.sha256(self.state()).digest()

    def copy(self) -> SetHash:
        """An independent copy."""
        made = object.__new__(SetHash)
        made._prefix = self._prefix
        made._sum = self._sum.copy()
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SetHash):
            return NotImplemented
        return hmac.compare_digest(self.state(), other.state())

    __hash__ = None  # type: ignore[assignment]

    def _sums(self, elements: Iterable[bytes]) -> Iterable[NDArray[np.uint16]]:
        source = iter(elements)
        while batch := list(itertools.islice(source, _BATCH)):
            expanded = b"".join(map(self._expand, batch))
            table = np.frombuffer(expanded, dtype="<u2").reshape(len(batch), LANES)
            yield table.sum(axis=0, dtype=np.uint16)

    def _expand(self, element: bytes) -> bytes:
        state = self._prefix.copy()
        state.update(len(element).to_bytes(4, "big"))
        state.update(element)
        return state.digest(STATE_BYTES)
