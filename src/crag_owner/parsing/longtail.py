"""Formats that only langchain-community reads, behind the extra ``longtail``.

The library is archived, so nothing else depends on it: each format here is a row of a table, and
without the extra its files are reported with the command that installs it. Loaders that insist on a
path are given one that exists for them alone, because in the sandbox no file can be opened.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from crag_owner.parsing.archive import open_archive, refuse_document_types
from crag_owner.parsing.encoding import decode
from crag_owner.parsing.interface import ParsedDocument, Section, Unreadable

_LOADERS = "langchain_community.document_loaders"
_PATH = "document-of-the-sandbox"
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
MISSING = "needs the extra longtail: pip install 'crag-owner[longtail]'"


@dataclass(frozen=True)
class LongTailParser:
    """One format: ``read`` gets the module ``module`` and the file's bytes."""

    name: str
    suffixes: tuple[str, ...]
    module: str
    read: Callable[[Any, bytes], Iterable[Section]]
    also: tuple[str, ...] = ()

    @property
    def modules(self) -> tuple[str, ...]:
        """The loader and what it imports when it runs."""
        return (self.module, "langchain_community.docstore.document", *self.also)

    def parse(self, data: bytes) -> ParsedDocument:
        """Load by langchain-community.

        Raises:
            Unreadable: the extra is not installed, or the loader found nothing.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says on every import that it is archived
            try:
                loader = importlib.import_module(self.module)
                for name in self.also:
                    importlib.import_module(name)
            except ImportError:
                raise Unreadable(MISSING) from None
            try:
                return ParsedDocument(list(self.read(loader, data)))
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                raise Unreadable("is damaged, or not of the format that its ending says") from None


@contextlib.contextmanager
def _only_file(data: bytes) -> Iterator[str]:
    """A path that ``open`` finds while the context lasts, with ``data`` in it."""
    real = builtins.open

    def opened(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
        if str(file) != _PATH:
            return real(file, mode, *args, **options)
        stream = io.BytesIO(data)
        return stream if "b" in mode else io.TextIOWrapper(stream, encoding="utf-8")

    builtins.open = opened
    try:
        yield _PATH
    finally:
        builtins.open = real


def _notebook(loader: Any, data: bytes) -> Iterator[Section]:
    with _only_file(decode(data).encode()) as path:
        for document in loader.NotebookLoader(path).load():
            yield Section(document.page_content)


def _conllu(loader: Any, data: bytes) -> Iterator[Section]:
    with _only_file(decode(data).encode()) as path:
        for document in loader.CoNLLULoader(path).load():
            yield Section(document.page_content)


def _visio(loader: Any, data: bytes) -> Iterator[Section]:
    from langchain_core.documents.base import Blob

    with open_archive(data, "Visio") as archive:
        refuse_document_types(archive)
    for document in loader.VsdxParser().lazy_parse(Blob.from_data(data)):
        # The loader leaves everything that is not ASCII as JSON escapes.
        text = _ESCAPES.sub(lambda found: json.loads(f'"{found[0]}"'), document.page_content)
        yield Section(text, document.metadata["page_name"], document.metadata["page"] + 1)


PARSERS = (
    LongTailParser("longtail-ipynb/1", (".ipynb",), f"{_LOADERS}.notebook", _notebook),
    LongTailParser("longtail-conllu/1", (".conllu",), f"{_LOADERS}.conllu", _conllu),
    LongTailParser(
        "longtail-vsdx/1", (".vsdx",), f"{_LOADERS}.parsers.vsdx", _visio, also=("xmltodict",)
    ),
)
