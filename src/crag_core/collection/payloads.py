"""The JSON that is sealed in rows. Rows of one document share most of it, so it is made once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.rows import row_name
from crag_core.errors import BadInput

# As json.dumps makes one for every call; the bytes are the same.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_SPACE = 0x20


def encoded_texts(draft: DocumentDraft) -> list[bytes]:
    """UTF-8 of the text of each chunk.

    Raises:
        BadInput: a text has no UTF-8 form.
    """
    return [_utf8(chunk.text, draft.source) for chunk in draft.chunks]


def payloads(document: bytes, draft: DocumentDraft, texts: Sequence[bytes]) -> list[bytes]:
    """UTF-8 of the JSON of each row of a document.

    Args:
        document: its id, 16 bytes.
        texts: from :func:`encoded_texts`.

    Raises:
        BadInput: metadata that have no JSON form, or a text that has no UTF-8 form.
    """
    source = _json(draft.source, draft.source)
    name = _json(row_name(document), draft.source)
    middle = b""
    page: object = object()
    heading: object = object()
    made = []
    for index, (chunk, text) in enumerate(zip(draft.chunks, _escaped(texts), strict=True)):
        # Only the very same objects, mostly None and "": a page that is True equals 1, but not in
        # JSON.
        if chunk.page is not page or chunk.heading is not heading:
            page, heading = chunk.page, chunk.heading
            middle = b'","source":%b,"page":%b,"heading":%b,"document":%b,"index":' % (
                source,
                _json(page, draft.source),
                _json(heading, draft.source),
                name,
            )
        end = _metadata(chunk, index, draft.source) if chunk.metadata else b',"metadata":{}}'
        made.append(b"".join((b'{"text":"', text, middle, b"%d" % index, end)))
    return made


def _escaped(texts: Sequence[bytes]) -> list[bytes]:
    """Each text as it stands between the quotes of JSON."""
    found = [
        text.replace(b"\\", b"\\\\")
        .replace(b'"', b'\\"')
        .replace(b"\n", b"\\n")
        .replace(b"\t", b"\\t")
        for text in texts
    ]
    joined = np.frombuffer(b"".join(found), dtype=np.uint8)
    if joined.size and joined.min() < _SPACE:
        # Other control characters: rare, so that the encoder's look at every letter is worth it.
        return [_JSON.encode(text.decode("utf-8")).encode("utf-8")[1:-1] for text in texts]
    return found


def _metadata(chunk: ChunkDraft, index: int, source: str) -> bytes:
    try:
        return b',"metadata":%b}' % _json(dict(chunk.metadata), source)
    except (TypeError, ValueError):
        raise BadInput(
            f"The metadata of chunk {index} of {source} has no JSON form.",
            hint="Use texts, numbers, true, false, null, lists and objects.",
        ) from None


def _json(value: Any, source: str) -> bytes:
    return _utf8(_JSON.encode(value), source)


def _utf8(text: str, source: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(
            f"A text of {source!a} holds half a character and has no UTF-8 form.",
            hint="Read the file with its own encoding.",
        ) from None
