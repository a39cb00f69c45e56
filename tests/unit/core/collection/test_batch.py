"""What is sealed together is what would have been sealed alone, in the bytes of the formats."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.collection import batch
from crag_core.collection.batch import Batch, NewDocument
from crag_core.collection.context import Context
from crag_core.collection.drafts import ChunkDraft, DocumentDraft
from crag_core.collection.labels import label_tags
from crag_core.collection.rows import open_row, row_digest, unseal_row, vector_part
from crag_core.errors import BadInput
from crag_core.keys import lp
from crag_core.sealing import row_aad
from support.contexts import DIMENSION, make_context
from support.database import vector_of
from support.sealed import SealedDocument, seal_documents

CONTEXT = make_context()
MODES = {mode: make_context(mode=mode) for mode in ("database", "enclave")}

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
# Mostly what JSON has to escape, and neighbours of it.
awkward = st.text(st.sampled_from(list('"\\/\n\r\t\b\f\0\x1f \x7f\u2028aé中😀')), max_size=12)
scalars = st.none() | st.booleans() | st.integers() | texts | st.floats(allow_nan=False)
chunks = st.builds(
    ChunkDraft,
    text=texts | awkward,
    vector=texts.map(lambda text: vector_of(text, DIMENSION)),
    page=st.sampled_from([None, 0, 1, True, False]) | st.integers(-(2**70), 2**70),
    heading=st.sampled_from(["", "Part 1"]) | awkward,
    metadata=st.dictionaries(texts, scalars, max_size=3).map(
        lambda found: {key: value for key, value in found.items() if value not in (1e400, -1e400)}
    ),
)
drafts = st.lists(
    st.builds(
        DocumentDraft,
        source=texts | awkward,
        content_tag=st.just(b""),
        chunks=st.lists(chunks, max_size=4),
        labels=st.dictionaries(texts, texts, max_size=2),
        expires=st.none() | st.integers(0, 2**40),
    ),
    max_size=4,
)


def new(documents: list[DocumentDraft]) -> list[NewDocument]:
    return [NewDocument(bytes([at]) * 16, each) for at, each in enumerate(documents)]


def sealed(context: Context, documents: list[DocumentDraft]) -> list[SealedDocument]:
    return seal_documents(context, new(documents))


@settings(deadline=None, max_examples=100)
@given(drafts, st.sampled_from(sorted(MODES)))
def test_every_row_has_the_bytes_of_the_formats(documents: list[DocumentDraft], mode: str) -> None:
    context = MODES[mode]
    made = sealed(context, documents)
    assert [len(each.rows) for each in made] == [len(each.chunks) for each in documents]
    for (identity, document), (rows, members) in zip(new(documents), made, strict=True):
        tags = label_tags(context, document.labels)
        for index, (chunk, row) in enumerate(zip(document.chunks, rows, strict=True)):
            assert row.id == row_id(context, identity, index, chunk.text)
            assert members[index] == (row.id, digest(row)) == (row.id, row_digest(row))
            assert (list(row.tags), row.expires) == (tags, document.expires)
            aad = row_aad(
                scheme=context.profile.scheme, epoch=context.profile.epoch, collection=context.name,
                row_id=row.id, iv=row.iv, vector=row.vector, tags=tags, expires=row.expires,
            )  # fmt: skip
            payload = context.text_sealer.unseal(row.nonce, row.ciphertext, aad)
            assert payload == hidden(context, chunk) + text_of(
                row_name_of(identity), document, index
            )
            if mode == "database":
                alone = context.cipher.encrypt(chunk.vector[None], [row.id])
                assert row.iv == alone.ivs[0].tobytes()
                assert row.vector == alone.vectors[0].astype(">f2").tobytes()


def row_id(context: Context, document: bytes, index: int, text: str) -> bytes:
    message = lp(document) + index.to_bytes(4, "big") + text.encode()
    return hmac.digest(context.keys.derive("id/row"), message, hashlib.sha256)[:16]


def row_name_of(identity: bytes) -> str:
    raw = identity.hex()
    return "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))


def digest(row: Any) -> bytes:
    """As ``docs/reference/database.md`` says."""
    expires = b"" if row.expires is None else row.expires.to_bytes(8, "big", signed=True)
    message = lp(b"crag/row-digest/v1") + row.version.to_bytes(2, "big", signed=True)
    message += row.epoch.to_bytes(4, "big", signed=True) + lp(row.iv) + lp(row.vector)
    message += lp(row.nonce) + lp(row.ciphertext) + lp(b"".join(map(lp, row.tags))) + lp(expires)
    return hashlib.sha256(message).digest()


def hidden(context: Context, chunk: ChunkDraft) -> bytes:
    return chunk.vector.astype(">f2").tobytes() if context.in_enclave else b""


def text_of(name: str, document: DocumentDraft, index: int) -> bytes:
    chunk = document.chunks[index]
    content = {
        "text": chunk.text, "source": document.source, "page": chunk.page,
        "heading": chunk.heading, "document": name, "index": index,
        "metadata": dict(chunk.metadata),
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


@pytest.mark.parametrize("mode", sorted(MODES))
def test_how_many_are_sealed_at_once_changes_nothing(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = MODES[mode]
    documents = [
        DocumentDraft(
            f"{number}.txt",
            b"",
            [
                ChunkDraft(f"{number} {at}", vector_of(f"{number} {at}", DIMENSION))
                for at in range(number)
            ],
        )
        for number in (3, 0, 5, 1)
    ]
    whole = sealed(context, documents)
    monkeypatch.setattr(batch, "_ROWS", 2)
    parts = sealed(context, documents)
    for one, other in zip(whole, parts, strict=True):
        assert [row[:5] for row in one.rows] == [row[:5] for row in other.rows]
        for row, again in zip(one.rows, other.rows, strict=True):
            assert open_row(context, row) == open_row(context, again)
            kept = [vector_part(context, unseal_row(context, each)) for each in (row, again)]
            assert kept[0] == kept[1]


@pytest.mark.parametrize("mode", sorted(MODES))
def test_rows_come_in_the_order_of_their_ids(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "_ROWS", 3)
    texts = [ChunkDraft(str(at), vector_of(str(at), DIMENSION)) for at in range(20)]
    whole = Batch(
        MODES[mode], new([DocumentDraft("a", b"", texts), DocumentDraft("b", b"", texts)])
    )
    parts = list(whole.slices())
    ids = [identity for part in parts for identity in part.ids]
    assert ids == sorted(ids)
    assert (len(ids), len(whole), {len(part.ids) for part in parts[:-1]}) == (40, 40, {3})
    assert ids != [identity for members in whole.members() for identity, _ in members]


def test_nothing_is_sealed_where_there_is_nothing() -> None:
    assert sealed(CONTEXT, []) == []
    assert sealed(CONTEXT, [DocumentDraft("a", b"", [])]) == [SealedDocument([], [])]


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (ChunkDraft("half \ud800", vector_of("x", DIMENSION)), "half a character"),
        (ChunkDraft("x", vector_of("x", DIMENSION), heading="\udc00"), "half a character"),
        (ChunkDraft("x", vector_of("x", DIMENSION), metadata={"a": object()}), "no JSON form"),
        (ChunkDraft("x", vector_of("x", DIMENSION), metadata={"a": float("nan")}), "no JSON form"),
        (ChunkDraft("x", vector_of("x", DIMENSION + 1)), r"shape|no array"),
        (ChunkDraft("x", np.zeros(DIMENSION, np.float32)), "norm"),
        (ChunkDraft("x", np.full(DIMENSION, np.nan, np.float32)), "not finite"),
    ],
)
@pytest.mark.parametrize("mode", sorted(MODES))
def test_what_cannot_be_sealed_is_bad_input(mode: str, chunk: ChunkDraft, reason: str) -> None:
    good = ChunkDraft("good", vector_of("good", DIMENSION))
    with pytest.raises(BadInput, match=reason):
        sealed(MODES[mode], [DocumentDraft("a", b"", [good, chunk])])
