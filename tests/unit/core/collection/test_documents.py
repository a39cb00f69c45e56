"""A document's record: the JSON that is sealed, and the snapshot that a transaction ends with."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.collection.documents import DocumentInfo, open_document, seal_document
from crag_core.collection.rows import row_name
from crag_core.collection.write import first_snapshot
from crag_core.errors import IntegrityViolated
from support.contexts import make_context

CONTEXT = make_context()

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | st.text(
    st.sampled_from(list('"\\/\n\r\t\0\x1f\x7f\u2028é中😀')), max_size=8
)
infos = st.builds(
    DocumentInfo,
    id=st.binary(min_size=16, max_size=16).map(row_name),
    source=texts,
    labels=st.dictionaries(texts, texts, max_size=3),
    added=texts,
    updated=texts,
    expires=st.none() | st.integers(-(2**63), 2**63 - 1),
    content_tag=st.binary(max_size=32),
    members=st.lists(
        st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)),
        max_size=4,
    ),
)


@settings(deadline=None, max_examples=100)
@given(infos)
def test_what_is_sealed_is_the_json_of_the_format(info: DocumentInfo) -> None:
    stored = seal_document(CONTEXT, info)
    assert stored.id == info.key
    payload = CONTEXT.document_sealer.unseal(
        stored.nonce, stored.ciphertext, CONTEXT.document_aad(stored.id)
    )
    expected = {
        "source": info.source, "content_tag": info.content_tag.hex(), "labels": info.labels,
        "added": info.added, "updated": info.updated, "expires": info.expires,
        "rows": [[identity.hex(), digest.hex()] for identity, digest in info.members],
    }  # fmt: skip
    assert payload == json.dumps(expected, ensure_ascii=False, separators=(",", ":")).encode()
    assert open_document(CONTEXT, stored) == info


def test_a_snapshot_is_remembered_by_every_byte_of_its_record() -> None:
    context = make_context()
    made, stored = first_snapshot(context)
    context.remember(stored, made)
    assert context.check(replace(stored)) is made
    assert make_context().check(stored) == made
    for other in (
        replace(stored, body=stored.body.replace('"rows":0', '"rows":1')),
        replace(stored, signature=bytes(64)),
        replace(stored, state=stored.state[:-1] + b"\x01"),
    ):
        assert other != stored
        with pytest.raises(IntegrityViolated):
            context.check(other)
