"""Source code and configuration: as written, cut at top-level definitions."""

from __future__ import annotations

import re

from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section
from crag_owner.parsing.sections import SectionBuilder
from crag_owner.parsing.text import require_text

# Words before a definition, the word that makes it one, and its name; at the line's beginning only.
_DEFINITION = re.compile(
    r"(?:(?:export|default|public|private|protected|internal|static|final|abstract|async|unsafe|"
    r"pub(?:\([a-z ]{1,20}\))?|sealed|partial|open|data|inline|virtual|extern|const|declare) ){0,6}"
    r"(class|def|function|func|fn|struct|enum|interface|trait|impl|type|module|namespace|object|"
    r"record|protocol|extension|sub|macro_rules!|CREATE (?:TABLE|VIEW|FUNCTION|PROCEDURE|INDEX))"
    r"\*? *(?:<[^<>]{0,80}>)? +(?:\([^()]{0,80}\) *)?(?:<[^<>]{0,80}> *)?"
    r"([A-Za-z_$][\w$]{0,79}(?:(?:\.|::)[\w$]{1,80}){0,4})"
)
_ATTACHED = re.compile(r"(?:@|#\[|//|#|/\*|\*|--|\[)")

_SUFFIXES = (
    ".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".kts", ".scala",
    ".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".cs", ".go", ".rs", ".rb", ".php", ".swift",
    ".m", ".mm", ".lua", ".pl", ".pm", ".r", ".jl", ".sh", ".bash", ".zsh", ".ps1", ".bat", ".sql",
    ".css", ".scss", ".vue", ".dart", ".ex", ".exs", ".erl", ".hs", ".clj", ".groovy", ".proto",
    ".toml", ".yaml", ".yml", ".ini", ".cfg", ".conf", ".properties", ".tf", ".tex",
)  # fmt: skip


def split_source(text: str) -> list[Section]:
    """One section for each top-level definition, with the comments and decorators right above it.

    What stands before the first is a section without a heading; a file without any is one section.
    """
    sections = SectionBuilder()
    waiting: list[str] = []
    for line in text.split("\n"):
        definition = _DEFINITION.match(line)
        if definition:
            sections.flush()
            sections.heading(1, f"{definition[1]} {definition[2]}")
        elif _ATTACHED.match(line):
            waiting.append(line)
            continue
        for held in waiting:
            sections.line(held)
        waiting = []
        sections.line(line)
    for held in waiting:
        sections.line(held)
    sections.flush()
    return sections.done


class SourceParser:
    """Programs, scripts and configuration files."""

    name = "source/1"
    suffixes = _SUFFIXES
    modules = ()

    def parse(self, data: bytes) -> ParsedDocument:
        """Decode and cut; see :func:`split_source`."""
        return ParsedDocument(split_source(require_text(decode(data))))
