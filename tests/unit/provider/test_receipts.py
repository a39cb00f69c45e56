"""Receipts: signed, content-free, and bounded in number."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from crag_provider import receipts
from crag_provider.receipts import Provenance, ReceiptBook
from support.library import SNAPSHOT

BOOK = ReceiptBook(Provenance("11" * 32, "sample", "22" * 32))
CITATION = {"n": 1, "source": "桥.md", "page": None, "text": "安娜", "score": 0.5}
CITED = '[{"n":1,"page":null,"source":"桥.md","text":"安娜"}]'
QUESTION, ANSWER = "谁开通了大桥?", "安娜·林德市长。 [1]"


def issue(book: ReceiptBook = BOOK) -> dict[str, Any]:
    return book.issue(
        question=QUESTION,
        answer=ANSWER,
        citations=[CITATION],
        rows=[("row-1", "33" * 32)],
        snapshot=SNAPSHOT,
    )


def raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def verify(receipt: dict[str, Any]) -> None:
    """As the documentation says it, without our code."""
    body = {name: value for name, value in receipt.items() if name != "signature"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    key = Ed25519PublicKey.from_public_bytes(raw(receipt["key"]["x"]))
    key.verify(raw(receipt["signature"]), b"crag/receipt/v1\0" + text)


def test_a_receipt_verifies_by_its_documentation() -> None:
    receipt = issue()
    verify(receipt)
    assert receipt["question_sha256"] == hashlib.sha256(QUESTION.encode()).hexdigest()
    assert receipt["answer_sha256"] == hashlib.sha256(ANSWER.encode()).hexdigest()
    assert receipt["citations_sha256"] == hashlib.sha256(CITED.encode()).hexdigest()
    assert receipt["snapshot"] == {"id": SNAPSHOT.id, "sequence": 7, "root": "ab" * 32}
    assert receipt["model"] == {"digest": "11" * 32}
    assert receipt["evidence"] == {"tee": "sample", "measurement": "22" * 32}


@pytest.mark.parametrize("member", [name for name in issue() if name not in ("signature", "key")])
def test_no_member_can_be_changed(member: str) -> None:
    receipt = issue()
    receipt[member] = {"other": 1} if isinstance(receipt[member], dict) else "other"
    with pytest.raises(InvalidSignature):
        verify(receipt)


def test_a_receipt_holds_no_content() -> None:
    text = json.dumps(issue(), ensure_ascii=False)
    assert QUESTION not in text and ANSWER not in text and "安娜" not in text


def test_a_receipt_is_found_until_too_many_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts, "KEPT", 3)
    book = ReceiptBook(Provenance("", "sample", ""))
    made = [issue(book) for _ in range(5)]
    assert [book.find(receipt["id"]) is not None for receipt in made] == [False] * 2 + [True] * 3
    assert book.find("none") is None


def test_each_process_has_a_key_of_its_own() -> None:
    assert ReceiptBook(Provenance("", "", "")).jwk != BOOK.jwk
