"""All chunks of a transaction to rows: slice by slice, so that the database writes one while the
next is sealed, and keys and parts are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crag_core.collection.context import Context
from crag_core.collection.drafts import DocumentDraft
from crag_core.collection.labels import label_tags
from crag_core.collection.payloads import encoded_texts, endings, payloads
from crag_core.collection.rows import digest_head, digests_of
from crag_core.sealing import row_ending
from crag_core.store.new_rows import NewRows
from crag_core.vectors.checks import unit_matrix
from crag_core.vectors.octets import row_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What one slice needs stays in the processor's cache, and a socket's buffer holds its stream.
_ROWS = 256


class NewDocument(NamedTuple):
    """A draft, and the id (16 bytes) that it is stored under."""

    id: bytes
    draft: DocumentDraft


class _Shared(NamedTuple):
    """What the rows of one document have in common; ``ending`` as in :func:`row_ending`."""

    tags: tuple[bytes, ...]
    expires: int | None
    ending: bytes


class Batch:
    """The chunks of new documents, to be sealed once.

    In search mode ``enclave`` the vector, as float16, is sealed before the text, and the columns
    for vector and IV stay empty.

    Args:
        context: the collection's.
        documents: drafts under their ids.

    Raises:
        BadInput: a vector of the wrong shape or norm, a text that has no UTF-8 form, metadata that
            have no JSON form, or a label that is no text.
    """

    def __init__(self, context: Context, documents: Sequence[NewDocument]) -> None:
        self._context = context
        self._counts: list[int] = []
        self._ids: list[bytes] = []
        self._texts: list[bytes] = []
        self._after: list[bytes] = []
        self._shared: list[_Shared] = []
        self._digests: dict[bytes, bytes] = {}
        vectors: list[NDArray[np.float32]] = []
        for identity, draft in documents:
            texts = encoded_texts(draft)
            tags = tuple(label_tags(context, draft.labels))
            shared = _Shared(tags, draft.expires, row_ending(tags, draft.expires))
            self._counts.append(len(texts))
            self._ids += context.row_ids(identity, texts)
            self._texts += texts
            self._after += endings(identity, draft)
            self._shared += [shared] * len(texts)
            vectors += [chunk.vector for chunk in draft.chunks]
        self._matrix = unit_matrix(vectors, context.profile.dimension) if vectors else None

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._ids)

    def slices(self) -> Iterator[NewRows]:
        """All rows, in the order of their ids.

        Ids are keyed hashes: the order on disk must not show which rows belong to one document,
        nor in which order, and this one also spares the index random access.
        """
        order = sorted(range(len(self._ids)), key=self._ids.__getitem__)
        for start in range(0, len(order), _ROWS):
            yield self._seal(order[start : start + _ROWS])

    def members(self) -> list[list[tuple[bytes, bytes]]]:
        """Id and digest of each row of each document in reading order, once all are sealed."""
        pairs = list(zip(self._ids, map(self._digests.__getitem__, self._ids), strict=True))
        ends = list(accumulate(self._counts))
        return [pairs[end - count : end] for end, count in zip(ends, self._counts, strict=True)]

    def _seal(self, chosen: list[int]) -> NewRows:
        context = self._context
        ids = [self._ids[at] for at in chosen]
        inside = payloads([self._texts[at] for at in chosen], [self._after[at] for at in chosen])
        tags, expires, ending = zip(*[self._shared[at] for at in chosen], strict=True)
        assert self._matrix is not None  # noqa: S101 - there are rows
        plain = self._matrix[chosen]
        if context.in_enclave:
            inside = list(map(bytes.__add__, row_bytes(plain.astype(">f2")), inside))
            ivs = vectors = [b""] * len(ids)
        else:
            sealed = context.cipher.encrypt_checked(plain, ids)
            ivs, vectors = row_bytes(sealed.ivs), row_bytes(sealed.vectors.astype(">f2"))
        bound = context.binding.joined_all(ids, ivs, vectors, ending)
        nonces, texts = context.text_sealer.seal_many(inside, bound)
        version, epoch = context.row_version, context.profile.epoch
        head = digest_head(version, epoch)
        digests = digests_of(head, ivs, vectors, nonces, texts, ending)
        self._digests.update(zip(ids, digests, strict=True))
        return NewRows(ids, version, epoch, ivs, vectors, nonces, texts, tags, expires)
