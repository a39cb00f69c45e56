"""Encrypt vectors so that a database can still order them by distance: scheme ``sapr-v1``.

Scale-And-Perturb of Fuchsbauer, Ghosal, Hauke, O'Neill (SCN 2022, IACR ePrint 2021/1666), behind
a secret rotation Q: ``c = s * Q(x) + noise(key, iv)``, the noise uniform in a ball of radius
``s * beta / 4``; s is the scaling factor and beta the approximation factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crag_core.keys import CollectionKeys, MasterKey
from crag_core.vectors.arithmetic import Arithmetic
from crag_core.vectors.checks import (
    UNIT_TOLERANCE,
    check_dimension,
    check_factors,
    require_finite,
    sealed_arrays,
    sealed_matrix,
    unit_matrix,
    unit_row,
)
from crag_core.vectors.ivs import IvMaker
from crag_core.vectors.kernel import fastest
from crag_core.vectors.noise import BallNoise
from crag_core.vectors.rotation import Rotation

SCHEME = "sapr-v1"
SCHEME_VERSION = 1


@dataclass(frozen=True, slots=True)
class SealedVectors:
    """What :meth:`VectorCipher.encrypt` returns: float16[n, d] and uint8[n, 12]."""

    vectors: NDArray[np.float16]
    ivs: NDArray[np.uint8]


class VectorCipher:
    """Encrypts and decrypts the vectors of one collection in one epoch. Safe to share by threads.

    Args:
        keys: the collection's keys.
        dimension: d, 1 to 16 000.
        scaling_factor: s, 2^-8 to 2^8; no security comes from it.
        approximation_factor: beta, not negative; 0 adds no noise.
        arithmetic: what computes; by default the compiled kernel where it is installed. The bits
            are the same.

    Raises:
        BadInput: a parameter is out of its range.
    """

    __slots__ = (
        "_arithmetic",
        "_noise",
        "_query_ivs",
        "_query_noise",
        "_rotation",
        "_row_ivs",
        "approximation_factor",
        "dimension",
        "scaling_factor",
    )

    def __init__(
        self,
        keys: CollectionKeys,
        *,
        dimension: int,
        scaling_factor: float = 1.0,
        approximation_factor: float = 1.0,
        arithmetic: Arithmetic | None = None,
    ) -> None:
        check_dimension(dimension)
        check_factors(scaling_factor, approximation_factor)
        self.dimension = int(dimension)
        self.scaling_factor = float(scaling_factor)
        self.approximation_factor = float(approximation_factor)
        extra = self.dimension.to_bytes(4, "big")
        radius = self.scaling_factor * self.approximation_factor / 4.0
        self._rotation = Rotation(keys.derive("vector/rotation", 32, extra), self.dimension)
        self._noise = BallNoise(keys.derive("vector/noise", 32, extra), self.dimension, radius)
        query_key = keys.derive("vector/query-noise", 32, extra)
        self._query_noise = BallNoise(query_key, self.dimension, radius)
        self._row_ivs = IvMaker(keys.derive("vector/iv", 32, extra))
        self._query_ivs = IvMaker(keys.derive("vector/query-iv", 32, extra))
        self._arithmetic = fastest() if arithmetic is None else arithmetic

    @classmethod
    def from_master_key(
        cls,
        key: bytes,
        *,
        collection: str,
        salt: bytes,
        dimension: int,
        scaling_factor: float = 1.0,
        approximation_factor: float = 1.0,
        arithmetic: Arithmetic | None = None,
    ) -> VectorCipher:
        """The cipher of ``collection`` under a master key's bytes.

        Args:
            key: the owner's master key, 1 to 4096 bytes.
            collection: the collection's name.
            salt: at least 16 random bytes, the collection's. One salt belongs to one choice of
                dimension, scaling factor and approximation factor: under two approximation
                factors the noise of one salt could be computed from the two ciphertexts.
            dimension: d, 1 to 16 000.
            scaling_factor: s.
            approximation_factor: beta.
            arithmetic: as for the class.

        Raises:
            BadInput: a parameter is out of its range.
        """
        keys = CollectionKeys(MasterKey.from_bytes(key), collection, salt)
        return cls(
            keys,
            dimension=dimension,
            scaling_factor=scaling_factor,
            approximation_factor=approximation_factor,
            arithmetic=arithmetic,
        )

    @property
    def compiled(self) -> bool:
        """Whether the compiled kernel computes; the bits are those of numpy."""
        return self._arithmetic.compiled

    def encrypt(
        self, vectors: Any, ids: Sequence[bytes], *, tolerance: float = UNIT_TOLERANCE
    ) -> SealedVectors:
        """Encrypt unit vectors for storage.

        The same id and vector always yield the same IV and so the same noise: encrypting a row
        again adds no sample from which the noise could be averaged away.

        Args:
            vectors: floats [n, d], unit norm; converted to float32.
            ids: n row ids of 16 bytes.
            tolerance: how far a norm may be from 1; a rotation allows more than an embedder.

        Raises:
            BadInput: wrong shape, not finite, not unit norm, or an id that has not 16 bytes.
        """
        return self.encrypt_checked(unit_matrix(vectors, self.dimension, tolerance), ids)

    def encrypt_checked(self, plain: NDArray[np.float32], ids: Sequence[bytes]) -> SealedVectors:
        """As :meth:`encrypt`, of rows of what :func:`unit_matrix` returned, without another look.

        Raises:
            BadInput: an id that has not 16 bytes.
        """
        ivs = self._row_ivs.for_rows(plain, ids)
        result = np.empty(plain.shape, dtype=np.float16)
        self._perturb(plain, ivs, self._noise, result)
        return SealedVectors(result, ivs)

    def encrypt_float32(
        self, vectors: Any, ids: Sequence[bytes]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """As :meth:`encrypt`, before the rounding to float16: float32[n, d] and uint8[n, 12]."""
        plain = unit_matrix(vectors, self.dimension)
        ivs = self._row_ivs.for_rows(plain, ids)
        result = np.empty(plain.shape, dtype=np.float32)
        self._perturb(plain, ivs, self._noise, result)
        return result, ivs

    def decrypt(self, vectors: Any, ivs: Any) -> NDArray[np.float32]:
        """The plaintext vectors, float32[n, d]; the float16 rounding is all that is lost.

        Args:
            vectors: float16[n, d] (or float32) as encrypted.
            ivs: uint8[n, 12] as returned by :meth:`encrypt`.

        Raises:
            BadInput: wrong shape or type, or values that are not finite.
        """
        return self._arithmetic.backward(self._rotation, self.denoise(vectors, ivs))

    def denoise(self, vectors: Any, ivs: Any) -> NDArray[np.float32]:
        """The rotated plaintext ``Q(x)``, float32[n, d]: noise and scale removed, arguments as
        :meth:`decrypt`. Inner products with :meth:`rotate` of a query are those of the plaintexts.

        Raises:
            BadInput: wrong shape or type, or values that are not finite.
        """
        values, checked = sealed_matrix(vectors, ivs, self.dimension)
        return self._arithmetic.denoise(self._noise, values, checked, self.scaling_factor)

    def rotate(self, vectors: Any) -> NDArray[np.float32]:
        """``Q(x)`` without scale and noise, float32 of the shape given, [n, d] or [d].

        It stays in the enclave: a rotated vector without noise is a sample of the secret frame.

        Raises:
            BadInput: wrong shape, not finite or not unit norm.
        """
        given = np.asarray(vectors)
        single = given.ndim == 1
        plain = (unit_row if single else unit_matrix)(given, self.dimension)
        rotated = self._arithmetic.forward(self._rotation, plain)
        return rotated.reshape(self.dimension) if single else rotated

    def encrypt_query(self, vector: Any) -> NDArray[np.float32]:
        """Encrypt a question's vector, floats [d] of unit norm, to float32[d].

        Its noise is a function of the vector, with keys of its own: asking again gives the
        database no second sample, though it can see that the same question came back.

        Raises:
            BadInput: wrong shape, not finite or not unit norm.
        """
        plain = unit_row(vector, self.dimension)
        result = np.empty(plain.shape, dtype=np.float32)
        self._perturb(plain, self._query_ivs.for_queries(plain), self._query_noise, result)
        return result.reshape(self.dimension)

    def scores(self, query: Any, vectors: Any, ivs: Any) -> NDArray[np.float32]:
        """Inner products float32[n] of a plaintext query [d] with the plaintexts of n rows.

        Noise is removed and the rotated query carries none, so what is left is the rounding of
        the stored float16 values.

        Raises:
            BadInput: wrong shape or type, not finite, or a query that has not unit norm.
        """
        rotated = self._arithmetic.forward(self._rotation, unit_row(query, self.dimension))[0]
        values, checked = sealed_arrays(vectors, ivs, self.dimension)
        scale = self.scaling_factor
        scores = self._arithmetic.scores(self._noise, values, checked, scale, rotated)
        # What is not finite in a row is not finite in its score either.
        require_finite(np.isfinite(scores))
        return scores

    def _perturb(
        self,
        plain: NDArray[np.float32],
        ivs: NDArray[np.uint8],
        noise: BallNoise,
        result: NDArray[Any],
    ) -> None:
        self._arithmetic.encrypt(self._rotation, noise, plain, ivs, self.scaling_factor, result)

    def __repr__(self) -> str:
        return (
            f"VectorCipher(***, scheme={SCHEME!r}, dimension={self.dimension}, "
            f"scaling_factor={self.scaling_factor}, "
            f"approximation_factor={self.approximation_factor})"
        )

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a VectorCipher holds keys and is not pickled")
