"""Strict readers: base64url and JSON objects."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.trustee.local.codec import Malformed, b64url_decode, b64url_encode, read_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_encoded_is_decoded(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@pytest.mark.parametrize("text", ["a", "aa=", "a+b/", "YQ==", "YR", " YQ", "YQ\n", "é", None, 7])
def test_padding_other_alphabets_and_stray_bits_are_refused(text: object) -> None:
    with pytest.raises(Malformed):
        b64url_decode(text)


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_decoded_canonically_or_refused(text: str) -> None:
    try:
        data = b64url_decode(text)
    except Malformed:
        return
    assert base64.urlsafe_b64encode(data).decode().rstrip("=") == text


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=9), JSON, max_size=5))
def test_json_objects_are_read_as_they_are(value: dict[str, Any]) -> None:
    try:
        text = json.dumps(value).encode()
        text.decode("utf-8")
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return
    assert read_object(text) == value


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_bytes_are_an_object_or_malformed(data: bytes) -> None:
    try:
        found = read_object(data)
    except Malformed:
        return
    assert found == json.loads(data)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1,"a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":"\\ud800"}',
        b"\xff{}",
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 100_000,
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
def test_ambiguous_and_endless_json_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        read_object(text)
