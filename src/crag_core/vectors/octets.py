"""The bytes of the rows of an array, made faster than by one slice or one ``tobytes`` per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def row_bytes(table: NDArray[Any]) -> list[bytes]:
    """The bytes of each row of a C-contiguous array [n, m] with m at least 1."""
    width = table.shape[1] * table.itemsize
    rows: list[bytes] = table.view(f"V{width}")[:, 0].tolist()
    return rows
