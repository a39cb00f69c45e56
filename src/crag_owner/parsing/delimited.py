"""``.csv`` and ``.tsv``: each row a line that names its columns."""

from __future__ import annotations

import csv
import io

from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.tables import row_lines
from crag_owner.parsing.text import require_text

_SNIFFED = 64 * 1024
_DELIMITERS = ",;\t|"
_MAX_CELL = 1024 * 1024


class DelimitedParser:
    """RFC 4180 and its relatives: the delimiter is guessed from the first lines."""

    name = "csv/1"
    suffixes = (".csv", ".tsv")
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """One section, no heading; see :func:`crag_owner.parsing.tables.row_lines`."""
        text = require_text(decode(data))
        csv.field_size_limit(_MAX_CELL)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
        try:
            lines = list(row_lines(reader))
        except csv.Error:
            raise Unreadable(
                f"is no table: line {reader.line_num} has a cell over 1 MiB or a broken quote"
            ) from None
        return ParsedDocument([Section("\n".join(lines))])


def _delimiter(text: str) -> str:
    """The delimiter that divides the first lines most evenly; a comma where none does."""
    lines = [line for line in text[:_SNIFFED].split("\n")[:20] if line.strip()]
    best, most = ",", 0
    for delimiter in _DELIMITERS:
        counts = [line.count(delimiter) for line in lines]
        usual = max(set(counts), key=counts.count)
        even = counts.count(usual) * (usual > 0)
        if even > most:
            best, most = delimiter, even
    return best
