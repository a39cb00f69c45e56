"""The JSON that is sealed in rows. Rows of one document share most of it, so it is made once."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import repeat
from typing import Any

import numpy as np

from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.rows import row_name
from crag_core.errors import BadInput

# As json.dumps makes one for every call; the bytes are the same.
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_SPACE = 0x20
_CONTROL = re.compile(rb"[\x00-\x1f]").search
_BEFORE = b'{"text":"'
# The backslash first: the others' escapes hold one.
_ESCAPES = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\t", b"\\t"))


def encoded_texts(draft: DocumentDraft) -> list[bytes]:
    """UTF-8 of the text of each chunk.

    Raises:
        BadInput: a text has no UTF-8 form.
    """
    try:
        return [chunk.text.encode("utf-8") for chunk in draft.chunks]
    except UnicodeEncodeError:
        raise _no_utf8(draft.source) from None


def endings(document: bytes, draft: DocumentDraft) -> list[bytes]:
    """What follows the text in the JSON of each row of a document, for :func:`payloads`.

    Args:
        document: its id, 16 bytes.

    Raises:
        BadInput: metadata that have no JSON form, or a text that has no UTF-8 form.
    """
    source = _json(draft.source, draft.source)
    name = row_name(document).encode("ascii")
    middle = b""
    page: object = object()
    heading: object = object()
    made = []
    for index, chunk in enumerate(draft.chunks):
        # Only the very same objects, mostly None and "": a page that is True equals 1, but not in
        # JSON.
        if chunk.page is not page or chunk.heading is not heading:
            page, heading = chunk.page, chunk.heading
            middle = b'","source":%b,"page":%b,"heading":%b,"document":"%b","index":' % (
                source,
                b"null" if page is None else _json(page, draft.source),
                _json(heading, draft.source),
                name,
            )
        end = _metadata(chunk, index, draft.source) if chunk.metadata else b"{}"
        made.append(b'%b%d,"metadata":%b}' % (middle, index, end))
    return made


def payloads(texts: Sequence[bytes], after: Sequence[bytes]) -> list[bytes]:
    """UTF-8 of the JSON of rows.

    Args:
        texts: of any documents, from :func:`encoded_texts`.
        after: of the same rows, from :func:`endings`.
    """
    return list(map(b"".join, zip(repeat(_BEFORE), _escaped(texts), after)))


def _escaped(texts: Sequence[bytes]) -> Sequence[bytes]:
    """Each text as it stands between the quotes of JSON."""
    joined, found = b"".join(texts), texts
    for raw, escaped in _ESCAPES:
        if raw in joined:
            found = [text.replace(raw, escaped) for text in found]
    written = np.frombuffer(joined if found is texts else b"".join(found), dtype=np.uint8)
    if written.size and written.min() < _SPACE:
        # Other control characters: rare, so that the encoder's look at every letter is worth it.
        return [
            _JSON.encode(text.decode("utf-8")).encode("utf-8")[1:-1] if _CONTROL(made) else made
            for text, made in zip(texts, found, strict=True)
        ]
    return found


def _metadata(chunk: ChunkDraft, index: int, source: str) -> bytes:
    try:
        return _json(dict(chunk.metadata), source)
    except (TypeError, ValueError):
        raise BadInput(
            f"The metadata of chunk {index} of {source} has no JSON form.",
            hint="Use texts, numbers, true, false, null, lists and objects.",
        ) from None


def _json(value: Any, source: str) -> bytes:
    try:
        return _JSON.encode(value).encode("utf-8")
    except UnicodeEncodeError:
        raise _no_utf8(source) from None


def _no_utf8(source: str) -> BadInput:
    return BadInput(
        f"A text of {source!a} holds half a character and has no UTF-8 form.",
        hint="Read the file with its own encoding.",
    )
