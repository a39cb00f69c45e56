"""Receipts: what they prove, and that every change of them is noticed."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.attestation.canonical import canonical_json
from crag_core.errors import IntegrityViolated
from crag_core.trustee.jwe import b64url
from crag_user.receipt import DOMAIN, FORMAT, b64url_decode, verify_receipt

KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
QUESTION, ANSWER = "什么是数字化转型?", "A change of culture."
MEASURED = {"measure_register": "ab" * 32}


def jwk(key: Ed25519PrivateKey) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": b64url(key.public_key().public_bytes_raw())}


def signed(by: Ed25519PrivateKey = KEY, /, **changes: Any) -> dict[str, Any]:
    receipt: dict[str, Any] = {
        "format": FORMAT,
        "id": "r1",
        "issued": "2026-11-21T00:00:00Z",
        "question_sha256": hashlib.sha256(QUESTION.encode()).hexdigest(),
        "answer_sha256": hashlib.sha256(ANSWER.encode()).hexdigest(),
        "rows": [{"id": "a", "sha256": "b"}],
        "evidence": {"tee": "sample", "measurement": "ab" * 32},
        "key": jwk(by),
        **changes,
    }
    receipt["signature"] = b64url(by.sign(DOMAIN + canonical_json(receipt)))
    return receipt


def verify(receipt: object, **changes: Any) -> list[Any]:
    arguments: dict[str, Any] = {
        "question": QUESTION,
        "answer": ANSWER,
        "attested_key": jwk(KEY),
        "measurements": MEASURED,
        **changes,
    }
    return verify_receipt(receipt, **arguments)


def test_a_receipt_over_this_question_and_answer_holds() -> None:
    checks = verify(signed())
    assert [check.name for check in checks] == [
        "receipt key",
        "receipt signature",
        "receipt question",
        "receipt answer",
        "receipt measurement",
    ]
    assert all(check.ok for check in checks)


def refused(receipt: object, match: str, **changes: Any) -> None:
    with pytest.raises(IntegrityViolated, match=match) as error:
        verify(receipt, **changes)
    assert error.value.details["checks"][-1]["ok"] is False


def test_another_question_or_answer_is_refused() -> None:
    refused(signed(), "another question", question="other")
    refused(signed(), "another answer", answer="other")


def test_a_key_that_is_not_attested_is_refused() -> None:
    refused(signed(OTHER), "another key")
    refused(signed(), "another key", attested_key=jwk(OTHER))


def test_a_receipt_that_only_names_the_attested_key_is_refused() -> None:
    refused(signed(OTHER, key=jwk(KEY)), "signature")


def test_another_measurement_is_refused() -> None:
    refused(signed(evidence={"measurement": "cd" * 32}), "another measurement")
    refused(signed(evidence={}), "another measurement")
    refused(signed(), "another measurement", measurements={})


@pytest.mark.parametrize("receipt", [None, {}, [], "x", {"format": "crag/receipt/v0"}])
def test_no_receipt_is_refused(receipt: object) -> None:
    refused(receipt, "without a receipt")


@pytest.mark.parametrize("signature", ["", "AAAA", None, 7, "é", "A" * 86, "=" * 88])
def test_a_signature_that_is_none_is_refused(signature: object) -> None:
    refused({**signed(), "signature": signature}, "signature")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_every_changed_member_is_noticed(data: st.DataObject) -> None:
    receipt = copy.deepcopy(signed())
    name = data.draw(st.sampled_from(sorted(receipt)))
    value = data.draw(st.text(max_size=8) | st.none() | st.integers())
    with pytest.raises(IntegrityViolated):
        verify({**receipt, name: value})
    with pytest.raises(IntegrityViolated):
        verify({k: v for k, v in receipt.items() if k != name})
    with pytest.raises(IntegrityViolated):
        verify({**receipt, "added": value})


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=70))
def test_base64url_is_read_as_it_is_written(raw: bytes) -> None:
    assert b64url_decode(b64url(raw)) == raw


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=12))
def test_other_text_is_no_base64url(text: str) -> None:
    try:
        raw = b64url_decode(text)
    except ValueError:
        return
    assert len(raw) == len(text) * 3 // 4
