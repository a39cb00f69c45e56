"""Compiled arithmetic of scheme ``sapr-v1``; every function releases the GIL while it computes.

Arrays are C-contiguous and of the native byte order. ``level`` is an index into :data:`LEVELS`. A
function raises ValueError for an array of another type or shape, and for a rotation's order that
does not lie within the dimension; BufferError for one that is not contiguous or not writable.
"""

from typing_extensions import Buffer

INTERFACE: int
"""Version of these functions."""

LEVELS: tuple[str, ...]
"""Sets of instructions that this processor has, the slowest first. All compute the same bits."""

def forward(level: int, vectors: Buffer, orders: Buffer, factors: Buffer, out: Buffer, /) -> None:
    """Rotate float32[n, d] into ``out``; ``orders`` is uint16[3, d], ``factors`` float32[3, d]."""

def backward(level: int, vectors: Buffer, orders: Buffer, factors: Buffer, out: Buffer, /) -> None:
    """Undo :func:`forward`."""

def encrypt(
    level: int,
    vectors: Buffer,
    words: Buffer | None,
    orders: Buffer,
    factors: Buffer,
    table: Buffer,
    radius: float,
    scale: float,
    out: Buffer,
    /,
) -> None:
    """``scale * Q(x) + noise`` of float32[n, d] into float16[n, d] or float32[n, d].

    ``words`` is the keystream, uint16[n, d + 2 or more], or None for no noise; ``table`` is
    int16[1, 65536].
    """

def denoise(
    level: int,
    values: Buffer,
    words: Buffer | None,
    table: Buffer,
    radius: float,
    scale: float,
    out: Buffer,
    /,
) -> None:
    """``(values - noise) / scale`` of float16[n, d] or float32[n, d] into float32[n, d]."""
