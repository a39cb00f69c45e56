"""Rows of cells to lines that can be understood one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

_MAX_HEADER_CELL = 60


def row_lines(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """One line for each row that says something.

    If the first row reads like a header (two cells or more, all different, all with a letter, none
    long), each row becomes ``header: cell; header: cell``, so that a chunk that holds only later
    rows still says what its numbers are. Otherwise cells are joined by `` | ``.
    """
    header: list[str] | None = None
    first = True
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if not any(cells):
            continue
        if first:
            first = False
            if _is_header(cells):
                header = cells
                yield " | ".join(cells)
                continue
        yield _line(cells, header)


def _is_header(cells: Sequence[str]) -> bool:
    return (
        len(cells) > 1
        and len(set(cells)) == len(cells)
        and all(len(cell) <= _MAX_HEADER_CELL and any(map(str.isalpha, cell)) for cell in cells)
    )


def _line(cells: Sequence[str], header: Sequence[str] | None) -> str:
    if header is None:
        return " | ".join(cells)
    named = [
        f"{header[column]}: {cell}" if column < len(header) else cell
        for column, cell in enumerate(cells)
        if cell
    ]
    return "; ".join(named)
