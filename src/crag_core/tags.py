"""Keyed tags: what stands in a row in place of an attribute, and what recognises a known file.

A tag is an HMAC, so the database can compare tags for equality and learns how often each occurs,
but neither names nor values. ``docs/reference/formats.md`` has the exact bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata

from crag_core.keys import lp

TAG_BYTES = 16
TAG_LABEL = b"crag/tag/v1"


def tag(key: bytes, name: str, value: str) -> bytes:
    """16 bytes that stand for ``name=value`` under ``key``.

    Args:
        key: 32 bytes, purpose ``tag``.
        name: the attribute's name, such as ``department``; normalised to Unicode NFC.
        value: its value; normalised to Unicode NFC. Case and spaces matter.
    """
    message = lp(TAG_LABEL) + lp(_nfc(name)) + lp(_nfc(value))
    return hmac.digest(key, message, hashlib.sha256)[:TAG_BYTES]


def content_tag(key: bytes, data: bytes) -> bytes:
    """32 bytes that recognise the same content again, and mean nothing without ``key``.

    Args:
        key: 32 bytes, purpose ``content-tag``.
        data: the file's bytes.
    """
    return hmac.digest(key, data, hashlib.sha256)


def _nfc(text: str) -> bytes:
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")
