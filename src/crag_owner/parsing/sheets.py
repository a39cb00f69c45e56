"""Excel by openpyxl, read-only: a section for each sheet, named after it."""

from __future__ import annotations

import datetime
import io
import warnings
from collections.abc import Iterator
from typing import Any

from crag_owner.parsing.archive import open_archive, refuse_document_types
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable
from crag_owner.parsing.tables import row_lines


class SheetsParser:
    """``.xlsx``: ``heading`` is the sheet's name, ``page`` its place in the workbook."""

    name = "xlsx/1"
    suffixes = (".xlsx", ".xlsm")
    modules = ("openpyxl.*", "lxml.etree")

    def parse(self, data: bytes) -> ParsedDocument:
        """The rows of each sheet; formulas as the values that Excel saved with them.

        Raises:
            Unreadable: no Excel file, protected, damaged, a bomb, or empty.
        """
        import xml.etree.ElementTree as ElementTree

        import openpyxl
        from lxml.etree import LxmlError
        from openpyxl.utils.exceptions import InvalidFileException

        with open_archive(data, "Excel") as archive:
            refuse_document_types(archive)
        broken = (
            InvalidFileException, LxmlError, ElementTree.ParseError,
            OSError,
            KeyError, ValueError, TypeError, AttributeError, IndexError,
        )  # fmt: skip
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                book = openpyxl.load_workbook(
                    io.BytesIO(data), read_only=True, data_only=True, keep_links=False
                )
                sections = [
                    Section("\n".join(row_lines(_rows(sheet))), sheet.title, number)
                    for number, sheet in enumerate(book.worksheets, 1)
                ]
        except broken:
            raise Unreadable("is a damaged Excel file") from None
        return ParsedDocument(sections)


def _rows(sheet: Any) -> Iterator[list[str]]:
    # The size that a sheet declares may be a lie; its rows are not.
    sheet.reset_dimensions()
    for row in sheet.iter_rows(values_only=True):
        yield [_cell(value) for value in row]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date().isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return str(value)
