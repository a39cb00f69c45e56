"""A set hash that follows changes: add and remove elements in the cost of those elements alone.

LtHash16 of Lewi, Kim, Maykov, Weis, "Securing Update Propagation with Homomorphic Hashing"
(IACR ePrint 2019/227): every element is expanded to 1024 numbers of 16 bits, the state is their
sum modulo 2^16. Order does not matter; removing undoes adding. The expansion is keyed with the
collection's ``sethash`` key, so that nobody else can even evaluate it: an HMAC of the element is
the IV of an AES-256-CTR keystream. ``docs/reference/formats.md`` has the exact bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from collections.abc import Iterable

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from numpy.typing import NDArray

from crag_core.errors import IntegrityViolated
from crag_core.keys import lp
from crag_core.vectors.keystream import IV_BYTES, Keystream

LANES = 1024
STATE_BYTES = 2 * LANES
LABEL = b"crag/sethash/v2"
# Expanded at a time; small enough that what one step writes the next one finds in the cache.
_BATCH = 64


class SetHash:
    """A mutable set hash; elements must be distinct (65 536 equal ones would cancel out).

    Args:
        key: 32 bytes, purpose ``sethash``.
    """

    __slots__ = ("_macs", "_stream", "_sum")

    def __init__(self, key: bytes) -> None:
        labelled = HMAC(key, hashes.SHA256())
        labelled.update(lp(LABEL))
        self._stream = Keystream(labelled.copy().finalize(), STATE_BYTES)
        self._macs = _Macs(labelled)
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
        made._macs, made._stream = self._macs, self._stream
        made._sum = self._sum.copy()
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SetHash):
            return NotImplemented
        return hmac.compare_digest(self.state(), other.state())

    __hash__ = None  # type: ignore[assignment]

    def _sums(self, elements: Iterable[bytes]) -> Iterable[NDArray[np.uint16]]:
        source = iter(elements)
        batch = list(itertools.islice(source, _BATCH))
        stream = self._stream.batch(len(batch))
        while batch:
            digests = np.frombuffer(b"".join(self._digests(batch)), dtype=np.uint8)
            ivs = digests.reshape(len(batch), -1)[:, :IV_BYTES]
            yield stream.words(ivs).sum(axis=0, dtype=np.uint16)
            batch = list(itertools.islice(source, _BATCH))

    def _digests(self, elements: Iterable[bytes]) -> list[bytes]:
        macs, made = self._macs, []
        size, fresh = -1, None
        for element in elements:
            if len(element) != size or fresh is None:
                size = len(element)
                fresh = macs[size].copy
            mac = fresh()
            mac.update(element)
            made.append(mac.finalize())
        return made


class _Macs(dict[int, HMAC]):
    """By length, the HMAC of what stands before an element; most elements have one length."""

    def __init__(self, labelled: HMAC) -> None:
        self._labelled = labelled

    def __missing__(self, length: int) -> HMAC:
        made = self._labelled.copy()
        made.update(length.to_bytes(4, "big"))
        self[length] = made
        return made
