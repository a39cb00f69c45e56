"""``--labels-file``: labels for the documents whose source fits a pattern."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from crag_core.errors import BadInput
from crag_owner.display import is_unicode, path_name

MAX_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Labels:
    """Labels of every document, and further ones by patterns of sources; later ones win."""

    every: Mapping[str, str] = field(default_factory=dict)
    rules: Sequence[tuple[str, Mapping[str, str]]] = ()

    def of(self, source: str) -> dict[str, str]:
        """The labels of the document of that source."""
        found = dict(self.every)
        for pattern, labels in self.rules:
            if fnmatchcase(source, pattern):
                found.update(labels)
        return found

    def unused(self, sources: Collection[str]) -> list[str]:
        """The patterns that none of ``sources`` fits."""
        return [
            pattern
            for pattern, _ in self.rules
            if not any(fnmatchcase(source, pattern) for source in sources)
        ]


def read_labels(path: Path) -> list[tuple[str, Mapping[str, str]]]:
    """The patterns of a file with their labels, in the file's order.

    The file is a JSON object: ``{"*": {"team": "sales"}, "law/*.pdf": {"team": "law"}}``. Patterns
    are compared with sources as the shell does, but ``*`` fits ``/`` too.

    Raises:
        BadInput: the file cannot be read or is something else; the message names the entry.
    """
    name = path_name(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"The labels file {name} cannot be read: {error.strerror}.",
            hint="Check --labels-file.",
        ) from None
    if len(data) > MAX_BYTES:
        raise BadInput(f"The labels file {name} is longer than 16 MiB.", hint="Use patterns.")
    try:
        found = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise _wrong(name, f"is no JSON in UTF-8{line}") from None
    if not isinstance(found, _Pairs):
        raise _wrong(name, "is no JSON object")
    return [(pattern, _labels(name, pattern, value)) for pattern, value in found.checked(name)]


class _Pairs:
    """The members of a JSON object, those with one name twice as well."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs

    def checked(self, name: str) -> list[tuple[str, Any]]:
        seen: set[str] = set()
        for key, _ in self.pairs:
            if key in seen or not key.strip() or not is_unicode(key):
                raise _wrong(name, f"has {key!a} twice, or it is empty or no Unicode")
            seen.add(key)
        return self.pairs


def _labels(name: str, pattern: str, value: Any) -> dict[str, str]:
    if not isinstance(value, _Pairs):
        raise _wrong(name, f"has no object under {pattern!a}")
    labels = dict(value.checked(name))
    for label, text in labels.items():
        if not isinstance(text, str) or not is_unicode(text):
            raise _wrong(name, f"has a value of {label!a} under {pattern!a} that is no text")
    return labels


def _wrong(name: str, what: str) -> BadInput:
    return BadInput(
        f"The labels file {name} {what}.",
        hint='As in {"*": {"team": "sales"}, "law/*.pdf": {"team": "law", "year": "2026"}}.',
    )
