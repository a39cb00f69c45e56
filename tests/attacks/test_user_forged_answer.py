"""A service that lies about its answer: the user sees a refusal, never the lie."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from crag_core.attestation.canonical import canonical_json
from crag_core.attestation.evidence import SampleSource
from crag_provider.receipts import DOMAIN, Provenance, ReceiptBook, SnapshotRef
from support.rag import Rag, rag
from support.small_as import b64url
from support.trustee import measurement
from support.user import run

LIE = "Send your money to this account."


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rag]:
    with rag(tmp_path_factory.mktemp("rag")) as made:
        yield made


@pytest.fixture(autouse=True)
def honest_again(there: Rag) -> Iterator[None]:
    yield
    there.service.bend_reply = there.service.bend_attestation = lambda document: document


def refused(there: Rag, code: int, match: str) -> None:
    words = ["--url", there.url, *there.trusted(), "--allow-insecure-evidence"]
    done = run("ask", "What now?", *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    error = json.loads(done.stdout)["error"]
    assert match in error["message"]
    assert LIE not in done.stdout + done.stderr


def change(**members: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: {**document, **members}


def in_receipt(**members: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda reply: {**reply, "receipt": {**reply["receipt"], **members}}


def test_an_answer_exchanged_after_signing(there: Rag) -> None:
    there.service.bend_reply = change(answer=LIE)
    refused(there, 12, "another answer")


def test_an_answer_exchanged_with_its_hash(there: Rag) -> None:
    digest = hashlib.sha256(LIE.encode()).hexdigest()
    there.service.bend_reply = lambda reply: in_receipt(answer_sha256=digest)(
        {**reply, "answer": LIE}
    )
    refused(there, 12, "signature")


def test_an_answer_signed_with_a_key_of_the_liar(there: Rag) -> None:
    other = ReceiptBook(Provenance("", "sample", there.measured.register().hex()))

    def lie(reply: dict[str, Any]) -> dict[str, Any]:
        snapshot = SnapshotRef("s", 1, "cd" * 32)
        receipt = other.issue(
            question=reply["question"], answer=LIE, citations=[], rows=[], snapshot=snapshot
        )
        return {**reply, "answer": LIE, "receipt": receipt}

    there.service.bend_reply = lie
    refused(there, 12, "another key")


def test_a_liars_key_put_over_evidence_that_was_made_for_the_true_one(there: Rag) -> None:
    other = ReceiptBook(Provenance("", "sample", there.measured.register().hex()))

    def lie(shown: dict[str, Any]) -> dict[str, Any]:
        runtime_data = {**shown["runtime_data"], "receipt_key": other.jwk}
        return {**shown, "runtime_data": runtime_data}

    there.service.bend_attestation = lie
    refused(there, 10, "refused")


def test_evidence_of_an_earlier_question_played_again(there: Rag) -> None:
    earlier = there.service.attestation(b64url(b"n" * 32))
    there.service.bend_attestation = lambda _: earlier
    refused(there, 10, "nonce")


def test_evidence_of_other_software(there: Rag) -> None:
    there.service.source = SampleSource(measurement("changed"))
    try:
        refused(there, 10, "not affirming")
    finally:
        there.service.source = SampleSource(there.measured)


def test_a_receipt_of_another_question(there: Rag) -> None:
    snapshot = SnapshotRef("s", 1, "cd" * 32)

    def lie(reply: dict[str, Any]) -> dict[str, Any]:
        receipt = there.service.book.issue(
            question="Another one?", answer=LIE, citations=[], rows=[], snapshot=snapshot
        )
        return {**reply, "answer": LIE, "receipt": receipt}

    there.service.bend_reply = lie
    refused(there, 12, "another question")


@pytest.mark.parametrize("member", ["n", "source", "page", "text"])
def test_a_quote_or_its_source_exchanged_after_signing(there: Rag, member: str) -> None:
    there.service.bend_reply = lambda reply: {
        **reply,
        "citations": [{**reply["citations"][0], member: LIE}],
    }
    refused(there, 12, "other sources or quotes")


def test_a_source_added_or_left_out_after_signing(there: Rag) -> None:
    for citations in ([], 2 * there.service._reply("?")["citations"]):
        there.service.bend_reply = change(citations=citations)
        refused(there, 12, "other sources or quotes")


def test_half_a_character_in_a_reply(there: Rag) -> None:
    there.service.bend_reply = change(answer="\ud800")
    refused(there, 1, "not an answer with citations")


def test_no_receipt_at_all(there: Rag) -> None:
    there.service.bend_reply = change(answer=LIE, receipt=None)
    refused(there, 12, "without a receipt")


def test_a_receipt_that_names_another_measurement(there: Rag) -> None:
    book = there.service.book

    def lie(reply: dict[str, Any]) -> dict[str, Any]:
        receipt = {k: v for k, v in reply["receipt"].items() if k != "signature"}
        receipt["evidence"] = {"tee": "tdx", "measurement": "00" * 32}
        receipt["signature"] = b64url(book._key.sign(DOMAIN + canonical_json(receipt)))
        return {**reply, "receipt": receipt}

    there.service.bend_reply = lie
    refused(there, 12, "another measurement")


def test_an_answer_that_tries_to_write_over_the_terminal(there: Rag) -> None:
    """Escape sequences in answer, source or quote could forge the line that says what holds."""
    escape = "\x1b[2J\x1b[H\x9b1;1Hok  everything\r\u202e"
    snapshot = SnapshotRef("s", 1, "cd" * 32)

    def lie(reply: dict[str, Any]) -> dict[str, Any]:
        citation = {"n": escape, "source": escape, "page": escape, "text": escape, "score": 0}
        receipt = there.service.book.issue(
            question=reply["question"],
            answer=escape,
            citations=[citation],
            rows=[],
            snapshot=snapshot,
        )
        return {**reply, "answer": escape, "receipt": receipt, "citations": [citation]}

    there.service.bend_reply = lie
    words = ["--url", there.url, *there.trusted(), "--allow-insecure-evidence"]
    done = run("ask", "What now?", *words)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout) & set("\x1b\x9b\r\u202e")
