"""AES-256-GCM of text and metadata: padding inside, associated data around.

The padding hides lengths up to multiples of 256 bytes. The associated data bind a ciphertext to
its place (row, collection, epoch, scheme) and to the encrypted vector that is stored beside it, so
that neither can be moved or exchanged. ``docs/reference/formats.md`` has the exact bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator, Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crag_core.errors import BadInput, IntegrityViolated
from crag_core.keys import lp

NONCE_BYTES = 12
TAG_BYTES = 16
BUCKET = 256
MAX_PAYLOAD = 64 * 1024 * 1024
_U32 = struct.Struct(">I").pack
_NONCES = struct.Struct(f"{NONCE_BYTES}s").iter_unpack
_ZEROS = [bytes(count) for count in range(BUCKET)]


def pad(payload: bytes) -> bytes:
    """``payload`` behind its 32-bit length, zeros behind it up to a multiple of 256 bytes.

    Raises:
        BadInput: more than 64 MiB.
    """
    if len(payload) > MAX_PAYLOAD:
        raise BadInput(
            f"A text of {len(payload)} bytes is too long to seal; "
            f"at most {MAX_PAYLOAD} bytes are accepted.",
            hint="Split the document.",
        )
    size = len(payload)
    return b"".join((_U32(size), payload, _ZEROS[-(4 + size) % BUCKET]))


def unpad(padded: bytes) -> bytes:
    """The payload of :func:`pad`.

    Raises:
        IntegrityViolated: the length, the size or the zeros are not what :func:`pad` writes.
    """
    length = int.from_bytes(padded[:4], "big")
    end = 4 + length
    expected = end + -end % BUCKET
    if len(padded) != expected or padded[end:] != bytes(expected - end):
        raise IntegrityViolated(
            "A sealed text opened, but its padding is not in the format.",
            hint="It was written by a program that does not follow the format; ingest it again.",
        )
    return padded[4:end]


class Sealer:
    """Seals and opens many payloads under one key.

    Args:
        key: 32 bytes from :meth:`crag_core.keys.CollectionKeys.derive`, one purpose per key. At
            most 2^32 payloads per key, because the nonces are random (NIST SP 800-38D 8.3).
    """

    __slots__ = ("_gcm",)

    def __init__(self, key: bytes) -> None:
        if len(key) != 32:
            raise ValueError(f"AES-256 needs 32 bytes of key, not {len(key)}")
        self._gcm = AESGCM(key)

    def seal(self, payload: bytes, aad: bytes) -> tuple[bytes, bytes]:
        """A fresh random nonce (12 bytes) and the ciphertext (padded length + 16 bytes of tag).

        Raises:
            BadInput: the payload is longer than 64 MiB.
        """
        nonce = os.urandom(NONCE_BYTES)
        return nonce, self._gcm.encrypt(nonce, pad(payload), aad)

    def unseal(self, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
        """The payload.

        Raises:
            IntegrityViolated: key, nonce, ciphertext and associated data do not belong together.
        """
        try:
            padded = self._gcm.decrypt(nonce, ciphertext, aad)
        except (InvalidTag, ValueError):
            raise IntegrityViolated(
                "A sealed text does not open: it, its place or its key was changed.",
                hint="Verify the collection to see which row it is.",
            ) from None
        return unpad(padded)

    def seal_many(
        self, payloads: Sequence[bytes], bound: Iterable[bytes]
    ) -> tuple[list[bytes], list[bytes]]:
        """:meth:`seal` of each payload with its associated data: nonces and ciphertexts, in order.

        Raises:
            BadInput: a payload is longer than 64 MiB.
        """
        randomness = os.urandom(NONCE_BYTES * len(payloads))
        nonces = [nonce for (nonce,) in _NONCES(randomness)]
        return nonces, list(map(self._gcm.encrypt, nonces, map(pad, payloads), bound))

    def __repr__(self) -> str:
        return "Sealer(***)"


def seal(key: bytes, payload: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Nonce (12 bytes) and ciphertext of one payload; see :class:`Sealer`."""
    return Sealer(key).seal(payload, aad)


def unseal(key: bytes, nonce: bytes, ciphertext: bytes, aad: bytes) -> bytes:
    """The payload of one sealed text; see :class:`Sealer`.

    Raises:
        IntegrityViolated: key, nonce, ciphertext and associated data do not belong together.
    """
    return Sealer(key).unseal(nonce, ciphertext, aad)


class RowBinding:
    """The associated data of many rows of one collection and epoch.

    Args:
        scheme: name of the vector scheme, such as ``sapr-v1``.
        epoch: the collection's key epoch, 0 to 2^32 - 1.
        collection: the collection's name.
    """

    __slots__ = ("_before_id", "_prefix")

    def __init__(self, *, scheme: str, epoch: int, collection: str) -> None:
        self._prefix = _place(b"crag/row/v1", scheme, epoch, collection)
        self._before_id = self._prefix + _U32(16)

    def aad(
        self,
        *,
        row_id: bytes,
        iv: bytes,
        vector: bytes,
        tags: Sequence[bytes],
        expires: int | None,
    ) -> bytes:
        """The associated data of one row; see :func:`row_aad`."""
        return self.joined(row_id, row_columns(iv, vector), row_ending(tags, expires))

    def joined(self, row_id: bytes, columns: bytes, ending: bytes) -> bytes:
        """As :meth:`aad`, from :func:`row_columns` and :func:`row_ending`, which rows share."""
        start = self._before_id if len(row_id) == 16 else self._prefix + _U32(len(row_id))
        return b"".join((start, row_id, columns, ending))

    def joined_all(
        self,
        row_ids: Sequence[bytes],
        ivs: Sequence[bytes],
        vectors: Sequence[bytes],
        endings: Sequence[bytes],
    ) -> Iterator[bytes]:
        """As :meth:`aad` of each row, with :func:`row_ending`; faster than one by one.

        Ids have 16 bytes, IVs are of one length, and vectors of one length.
        """
        if not row_ids:
            return
        start, before, between = self._before_id, _U32(len(ivs[0])), _U32(len(vectors[0]))
        join = b"".join
        for row_id, iv, vector, ending in zip(row_ids, ivs, vectors, endings, strict=True):
            yield join((start, row_id, before, iv, between, vector, ending))


def row_columns(iv: bytes, vector: bytes) -> bytes:
    """IV and vector as associated data and digest hold them: ``lp(iv) || lp(vector)``."""
    return b"".join((_U32(len(iv)), iv, _U32(len(vector)), vector))


def row_ending(tags: Sequence[bytes], expires: int | None) -> bytes:
    """Tags and expiry as associated data and digest hold them: ``lp(tags) || lp(expires)``."""
    moment = b"" if expires is None else expires.to_bytes(8, "big", signed=True)
    return lp(b"".join(map(lp, tags))) + lp(moment)


def row_aad(
    *,
    scheme: str,
    epoch: int,
    collection: str,
    row_id: bytes,
    iv: bytes,
    vector: bytes,
    tags: Sequence[bytes],
    expires: int | None,
) -> bytes:
    """What a row's sealed text is bound to: every other column, length-prefixed.

    Args:
        scheme: name of the vector scheme.
        epoch: the collection's key epoch.
        collection: the collection's name.
        row_id: 16 bytes.
        iv: 12 bytes, the vector's.
        vector: the stored float16 values as big-endian bytes, as sent to PostgreSQL; empty where
            the database holds no vector.
        tags: the row's keyed tags in the stored order.
        expires: seconds since 1970 UTC, or None.
    """
    binding = RowBinding(scheme=scheme, epoch=epoch, collection=collection)
    return binding.aad(row_id=row_id, iv=iv, vector=vector, tags=tags, expires=expires)


def document_aad(*, scheme: str, epoch: int, collection: str, document_id: bytes) -> bytes:
    """What a document's sealed description is bound to."""
    return document_place(scheme=scheme, epoch=epoch, collection=collection) + lp(document_id)


def document_place(*, scheme: str, epoch: int, collection: str) -> bytes:
    """What the associated data of all documents of a collection and epoch begin with."""
    return _place(b"crag/document/v1", scheme, epoch, collection)


def profile_aad(public_profile: bytes) -> bytes:
    """What a collection's sealed profile is bound to: the stored bytes of its public profile."""
    return lp(b"crag/profile/v1") + lp(public_profile)


def _place(label: bytes, scheme: str, epoch: int, collection: str) -> bytes:
    names = (scheme.encode("utf-8"), epoch.to_bytes(4, "big"), collection.encode("utf-8"))
    return b"".join(map(lp, (label, *names)))
