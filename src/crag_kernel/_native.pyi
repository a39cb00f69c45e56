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

def scores(
    level: int,
    values: Buffer,
    words: Buffer | None,
    table: Buffer,
    radius: float,
    scale: float,
    query: Buffer,
    out: Buffer,
    /,
) -> None:
    """Inner products of ``query``, float32[1, d], with what :func:`denoise` makes of float16[n, d]
    or float32[n, d], into float32[n, 1].

    Products of coordinates whose numbers are equal modulo 16 are summed in order; then the upper
    half of these 16 sums is added to the lower one, until one is left.
    """

def find(
    ids: Buffer, numbers: Buffer, starts: Buffer, shift: int, asked: Buffer, out: Buffer, /
) -> None:
    """The number of each id of ``asked``, uint8[k, 16], into ``out``, uint32[k, 1]; 2^32 - 1 where
    there is no such id.

    The first 8 bytes of an id, as a little-endian number, shifted right by ``shift``, 32 to 63, are
    its place. ``starts``, uint32[2^(64 - shift) + 1, 1], says where the ids of a place begin in
    ``ids``, uint8[n, 16], and in ``numbers``, uint32[n, 1]; they end where the next place begins.
    """
