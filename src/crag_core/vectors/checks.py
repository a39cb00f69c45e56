"""What the vector cipher accepts; everything else is refused with a sentence."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crag_core.errors import BadInput
from crag_core.vectors.keystream import IV_BYTES

MAX_DIMENSION = 16_000
MAX_HALF = 65_504.0
_HALF_EXPONENT = np.uint16(0x7C00)
MIN_SCALE, MAX_SCALE = 2.0**-8, 2.0**8
UNIT_TOLERANCE = 1e-3


def check_dimension(dimension: int) -> None:
    """Raise BadInput unless ``dimension`` is a whole number from 1 to 16 000 (pgvector's limit)."""
    whole = isinstance(dimension, int | np.integer) and not isinstance(dimension, bool)
    if not whole or not 1 <= dimension <= MAX_DIMENSION:
        raise BadInput(
            f"A vector cannot have {dimension} dimensions; 1 to {MAX_DIMENSION} are possible.",
            hint="Use an embedder whose vectors fit.",
        )


def check_factors(scaling: float, approximation: float) -> None:
    """Raise BadInput unless every ciphertext that the factors allow fits into float16.

    A coordinate of ``s * Q(x) + noise`` is at most ``s * (1 + tolerance) + s * beta / 4``, so
    checking the factors once checks every vector.
    """
    if not (math.isfinite(scaling) and MIN_SCALE <= scaling <= MAX_SCALE):
        raise BadInput(
            f"The scaling factor {scaling} is outside {MIN_SCALE} to {MAX_SCALE}, "
            "where float16 keeps its precision.",
            hint="Use --scaling-factor 1.0; no security comes from scaling.",
        )
    if not (math.isfinite(approximation) and approximation >= 0.0):
        raise BadInput(
            f"The approximation factor {approximation} is not a number from 0 upwards.",
            hint="Use --approximation-factor 1.0.",
        )
    if scaling * (1.0 + UNIT_TOLERANCE) + scaling * approximation / 4.0 > MAX_HALF:
        raise BadInput(
            f"With scaling factor {scaling} and approximation factor {approximation} encrypted "
            "values can exceed what float16 holds (65504).",
            hint="Use --scaling-factor 1.0 --approximation-factor 1.0.",
        )


def unit_matrix(
    vectors: Any, dimension: int, tolerance: float = UNIT_TOLERANCE
) -> NDArray[np.float32]:
    """``vectors`` as contiguous float32[n, d] of finite vectors with norm 1.

    Raises:
        BadInput: anything else; the first wrong row is named.
    """
    given = _array(vectors)
    if given.dtype.kind != "f" or given.ndim != 2 or given.shape[1] != dimension:
        raise BadInput(
            f"Vectors of type {given.dtype} and shape {list(given.shape)} were given; "
            f"floats of shape [n, {dimension}] are needed.",
            hint="Was the collection made with another embedder?",
        )
    with np.errstate(over="ignore"):
        plain = np.ascontiguousarray(given, dtype=np.float32)
        squares = np.einsum("ij,ij->i", plain, plain)
    low, high = (1.0 - tolerance) ** 2, (1.0 + tolerance) ** 2
    good = (squares >= low) & (squares <= high)
    if not good.all():
        row = int(np.argmin(good))
        norm = math.sqrt(float(squares[row]))
        what = f"has norm {norm:.4f}" if math.isfinite(norm) else "is not finite"
        raise BadInput(
            f"Vector {row} {what}; unit norm (1.000, tolerance {tolerance}) is needed.",
            hint="Normalise the embedder's vectors; a zero or infinite one means it failed.",
        )
    return plain


def unit_row(vector: Any, dimension: int) -> NDArray[np.float32]:
    """One vector of shape [d] as float32[1, d], checked as by :func:`unit_matrix`."""
    given = _array(vector)
    if given.ndim != 1:
        raise BadInput(
            f"A query of shape {list(given.shape)} was given; [{dimension}] is needed.",
            hint="Pass one vector.",
        )
    if given.dtype == np.float32 and given.shape == (dimension,) and given.flags.c_contiguous:
        # What is nearly always given; anything else is said in a sentence by the other function.
        square = float(np.vdot(given, given))
        if (1.0 - UNIT_TOLERANCE) ** 2 <= square <= (1.0 + UNIT_TOLERANCE) ** 2:
            return given[None]
    return unit_matrix(given[None], dimension)


def sealed_matrix(vectors: Any, ivs: Any, dimension: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """As :func:`sealed_arrays`, with values that were looked at.

    Raises:
        BadInput: other shapes or types, or values that are not finite.
    """
    values, checked = sealed_arrays(vectors, ivs, dimension)
    # of float16 the exponent's bits, twelve times as fast
    finite = (
        (values.view(np.uint16) & _HALF_EXPONENT) != _HALF_EXPONENT
        if values.dtype == np.float16
        else np.isfinite(values)
    )
    require_finite(finite)
    return values, checked


def require_finite(finite: NDArray[np.bool_]) -> None:
    """Raise BadInput unless all of ``finite``, said of encrypted values, are true."""
    if not finite.all():
        raise BadInput(
            "An encrypted vector holds values that are not finite.",
            hint="It was not written by the cipher; verify the collection.",
        )


def sealed_arrays(vectors: Any, ivs: Any, dimension: int) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Encrypted vectors float16|float32[n, d] and their uint8[n, 12] IVs, contiguous and native.

    Raises:
        BadInput: other shapes or types.
    """
    given, given_ivs = _array(vectors), _array(ivs)
    if (
        given.dtype.kind != "f"
        or given.dtype.itemsize > 4
        or given.ndim != 2
        or given.shape[1] != dimension
    ):
        raise BadInput(
            f"Encrypted vectors of type {given.dtype} and shape {list(given.shape)} were given; "
            f"float16 of shape [n, {dimension}] is needed.",
            hint="Does the collection have another dimension?",
        )
    if given_ivs.dtype != np.uint8 or given_ivs.shape != (len(given), IV_BYTES):
        raise BadInput(
            f"IVs of type {given_ivs.dtype} and shape {list(given_ivs.shape)} were given; "
            f"uint8 of shape [{len(given)}, {IV_BYTES}] is needed.",
            hint="Pass the IVs that belong to these vectors.",
        )
    native = np.ascontiguousarray(given, dtype=given.dtype.newbyteorder("="))
    return native, np.ascontiguousarray(given_ivs)


def _array(values: Any) -> NDArray[Any]:
    try:
        return np.asarray(values)
    except (TypeError, ValueError):
        raise BadInput(
            "The vectors given are no array: their rows differ in length or hold no numbers.",
            hint="Pass a numpy array of floats.",
        ) from None
