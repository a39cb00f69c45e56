"""``crag-user ask``: an answer with its sources, shown only with a receipt that holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.gateway.endpoint import free_endpoint
from support.rag import CITATION, Rag, rag
from support.user import gone, run, tng_children

QUESTION = "数字化转型面临的挑战是什么?"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rag]:
    with rag(tmp_path_factory.mktemp("rag")) as made:
        yield made


@pytest.fixture(autouse=True)
def forgotten(there: Rag) -> Iterator[None]:
    there.service.questions.clear()
    yield
    there.service.bend_reply = there.service.bend_attestation = lambda document: document
    there.service.status = 200


def words(there: Rag, *more: str) -> list[str]:
    return ["--url", there.url, *there.trusted(), "--allow-insecure-evidence", *more]


def test_an_answer_comes_with_sources_receipt_and_what_was_verified(there: Rag) -> None:
    done = run("ask", f" {QUESTION}\n", *words(there, "--json"))
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["question"] == QUESTION
    assert result["answer"] == "最大的挑战是文化 [1]。"
    assert result["citations"] == [CITATION]
    assert result["attestation"]["verdict"] == "affirming"
    assert result["insecure"] is True
    assert result["receipt"]["format"] == "crag/receipt/v1"
    assert [check["name"] for check in result["verified"]] == [
        "receipt evidence",
        "same enclave",
        "receipt key",
        "receipt signature",
        "receipt question",
        "receipt answer",
        "receipt citations",
        "receipt measurement",
    ]
    assert set(result["timings_ms"]) >= {"search", "verify", "ask", "receipt", "total"}
    assert there.service.questions == [QUESTION]


def test_a_person_reads_answer_numbered_sources_and_checks(there: Rag) -> None:
    done = run("ask", QUESTION, *words(there))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("最大的挑战是文化 [1]。\n")
    assert "  [1] 转型.md, page 2\n      “文化是最大的挑战。”" in done.stdout
    assert "ok  receipt signature" in done.stdout
    assert "(INSECURE: software evidence)" in done.stdout


def test_without_the_flag_the_question_does_not_leave(there: Rag) -> None:
    done = run("ask", QUESTION, "--url", there.url, *there.trusted(), "--json")
    assert done.returncode == 10
    assert json.loads(done.stdout)["error"]["code"] == "insecure-evidence"
    assert there.service.questions == []


def test_a_running_connect_can_be_used(there: Rag) -> None:
    import subprocess

    from support.user import PROGRAM

    listen = str(free_endpoint())
    start = ["connect", there.url, "--listen", listen, "--json", *words(there)[2:]]
    with subprocess.Popen([PROGRAM, *start], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline()
            children = tng_children(process.pid)
            done = run("ask", QUESTION, *words(there, "--proxy", listen, "--json"))
        finally:
            process.terminate()
    assert gone(children)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["attestation"]["verdict"] == "affirming"


def test_a_proxy_that_is_not_there_is_exit_75(there: Rag) -> None:
    done = run("ask", QUESTION, *words(there, "--proxy", str(free_endpoint())))
    assert done.returncode == 75
    assert "connect" in done.stderr


def test_a_proxy_elsewhere_is_refused(there: Rag) -> None:
    done = run("ask", QUESTION, *words(there, "--proxy", "10.0.0.1:41000"))
    assert done.returncode == 2
    assert "loopback" in done.stderr


@pytest.mark.parametrize(("status", "code"), [(400, 30), (403, 11), (503, 75), (500, 1), (404, 1)])
def test_a_refusal_of_the_service_keeps_its_reason(there: Rag, status: int, code: int) -> None:
    there.service.status = status
    there.service.bend_reply = lambda _: {"error": {"message": "not\x1b[1m today", "code": "x"}}
    done = run("ask", QUESTION, *words(there))
    assert done.returncode == code
    assert "not [1m today" in done.stderr


def test_an_empty_question_is_a_usage_error(there: Rag) -> None:
    for question in ("", "  ", "x" * 40_000):
        assert run("ask", question, *words(there)).returncode == 2
    assert run("ask", QUESTION, *there.trusted()).returncode == 2


def test_a_reply_of_another_shape_is_refused(there: Rag) -> None:
    for reply in ({}, {"answer": 1, "citations": []}, {"answer": "a", "citations": [{}]}):
        there.service.bend_reply = lambda _, reply=reply: reply
        done = run("ask", QUESTION, *words(there))
        assert done.returncode == 1
        assert "not an answer with citations" in done.stderr


def test_nothing_but_what_was_verified_is_left_behind(there: Rag, crag_home: Path) -> None:
    assert run("ask", QUESTION, *words(there, "-q")).returncode == 0
    written = [path for path in crag_home.rglob("*") if path.is_file()]
    assert written
    for path in written:
        assert path.is_relative_to(crag_home / "user" / "history")
        assert QUESTION.encode() not in path.read_bytes()


def test_a_signal_while_the_service_thinks_leaves_no_process(there: Rag) -> None:
    import signal
    import subprocess
    import threading

    from support.poll import until
    from support.user import PROGRAM

    thinking = threading.Event()

    def think(reply: dict[str, object]) -> dict[str, object]:
        thinking.wait(20)
        return reply

    there.service.bend_reply = think
    with subprocess.Popen(
        [PROGRAM, "ask", QUESTION, *words(there)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        until(lambda: there.service.questions, 20, "the question's arrival")
        children = tng_children(process.pid)
        assert children
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=15)
    thinking.set()
    assert process.returncode == 130
    assert "Traceback" not in out + err
    assert gone(children)
