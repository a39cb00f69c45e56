"""Files to text with its structure: one file per format behind :class:`Parser`."""

from __future__ import annotations

from crag_owner.parsing.interface import ParsedDocument, Parser, Section, Unreadable
from crag_owner.parsing.registry import SUFFIXES, parser_for

__all__ = ["SUFFIXES", "ParsedDocument", "Parser", "Section", "Unreadable", "parser_for"]
