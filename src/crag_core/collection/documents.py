"""A document's sealed description: its source, its labels, and which rows it consists of.

The database sees neither how many documents share a row nor which rows belong together: the list of
rows, each with its digest, is inside the seal.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crag_core.collection.context import Context
from crag_core.collection.rows import row_name
from crag_core.errors import IntegrityViolated
from crag_core.keys import lp
from crag_core.store.interface import StoredDocument

DOCUMENT_VERSION = 1
_DIGEST_LABEL = lp(b"crag/document-digest/v1")
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_DOCUMENT = lp(b"doc")


@dataclass(frozen=True)
class DocumentInfo:
    """A document as it is listed.

    ``id`` is a UUID as text, ``added`` and ``updated`` are UTC in ISO 8601, ``expires`` is seconds
    since 1970 UTC or None, ``rows`` are the ids of its rows (UUIDs as text) in reading order.
    """

    id: str
    source: str
    labels: Mapping[str, str]
    added: str
    updated: str
    expires: int | None
    content_tag: bytes
    members: Sequence[tuple[bytes, bytes]] = field(repr=False)
    """Id and digest of each row, in reading order."""

    @property
    def chunks(self) -> int:
        """How many rows it has."""
        return len(self.members)

    @property
    def rows(self) -> list[str]:
        """Ids of its rows, in reading order."""
        return [row_name(identity) for identity, _ in self.members]

    def expired(self, now: float | None = None) -> bool:
        """Whether its date is past, at ``now`` in seconds since 1970 UTC or at this moment."""
        moment = time.time() if now is None else now
        return self.expires is not None and self.expires <= moment

    @property
    def key(self) -> bytes:
        """The id's 16 bytes."""
        return uuid.UUID(self.id).bytes


def document_digest(document: StoredDocument) -> bytes:
    """SHA-256 over every column but the id."""
    return hashlib.sha256(
        b"".join(
            (
                _DIGEST_LABEL,
                document.version.to_bytes(2, "big", signed=True),
                document.epoch.to_bytes(4, "big", signed=True),
                lp(document.nonce),
                lp(document.ciphertext),
            )
        )
    ).digest()


def document_element(identity: bytes, digest: bytes) -> bytes:
    """What stands for a document in the set hash."""
    return _DOCUMENT + lp(identity) + lp(digest)


def seal_document(context: Context, info: DocumentInfo) -> StoredDocument:
    """The record of a document."""
    key = info.key
    nonce, ciphertext = context.document_sealer.seal(
        _written(info).encode("utf-8"), context.document_aad(key)
    )
    return StoredDocument(key, DOCUMENT_VERSION, context.profile.epoch, nonce, ciphertext)


def _written(info: DocumentInfo) -> str:
    """The JSON that is sealed of a document, by the encoder where there may be escapes: for a whole
    mapping it takes longer than all the rest.
    """
    source, added, updated = map(_JSON.encode, (info.source, info.added, info.updated))
    labels = _JSON.encode(dict(info.labels)) if info.labels else "{}"
    expires = "null" if info.expires is None else _JSON.encode(info.expires)
    rows = ",".join([f'["{identity.hex()}","{digest.hex()}"]' for identity, digest in info.members])
    return (
        f'{{"source":{source},"content_tag":"{info.content_tag.hex()}","labels":{labels},'
        f'"added":{added},"updated":{updated},"expires":{expires},"rows":[{rows}]}}'
    )


def open_document(
    context: Context, document: StoredDocument, identity: bytes | None = None
) -> DocumentInfo:
    """The description of a document, under its own id or another one.

    Raises:
        IntegrityViolated: it does not open; the message names it.
    """
    key = document.id if identity is None else identity
    try:
        return _decode(key, json.loads(_unseal(context, document, key)))
    except (IntegrityViolated, ValueError, KeyError, TypeError):
        name = row_name(key)
        raise IntegrityViolated(
            f"The description of document {name} of the collection {context.name} "
            "was tampered with.",
            hint="Run `crag-owner verify` to see everything that was changed.",
            details={"collection": context.name, "row": name, "violation": "tampered"},
        ) from None


def _unseal(context: Context, document: StoredDocument, key: bytes) -> bytes:
    if document.version != DOCUMENT_VERSION or document.epoch != context.profile.epoch:
        raise IntegrityViolated("The document has another format or epoch.")
    return context.document_sealer.unseal(
        document.nonce, document.ciphertext, context.document_aad(key)
    )


def _decode(key: bytes, found: dict[str, Any]) -> DocumentInfo:
    return DocumentInfo(
        id=row_name(key),
        source=found["source"],
        labels=found["labels"],
        added=found["added"],
        updated=found["updated"],
        expires=found["expires"],
        content_tag=bytes.fromhex(found["content_tag"]),
        members=[
            (bytes.fromhex(identity), bytes.fromhex(digest)) for identity, digest in found["rows"]
        ],
    )
