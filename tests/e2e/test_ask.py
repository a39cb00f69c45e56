"""Questions through the whole house, and what the user's proxy refuses."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from support.house import House

QUESTIONS = [
    ("Who is the incident commander of the payment gateway?", "Ingrid Solberg"),
    ("When did the branch in Alta open?", "12 May 2024"),
    ("数字化转型面临的挑战是什么?", "数据孤岛"),
    ("差旅报销单应当在出差结束后多少天内提交?", "30天"),
]


@pytest.fixture(scope="module")
def proxy(house: House, service: str) -> str:
    """The user's gateway, up for this module."""
    return house.connect(house.trustees["user"], service)


@pytest.mark.parametrize(("question", "expected"), QUESTIONS)
def test_answer_is_right_and_its_passages_are_cited(
    house: House, service: str, proxy: str, question: str, expected: str
) -> None:
    answer = house.user.run("ask", question, "--url", service, "--proxy", proxy)
    assert expected in answer["answer"]
    assert any(expected in citation["text"] for citation in answer["citations"])
    assert [citation["n"] for citation in answer["citations"]] == list(
        range(1, len(answer["citations"]) + 1)
    )
    assert answer["receipt"]["snapshot"]["sequence"] >= 1


class _Counter(BaseHTTPRequestHandler):
    seen = 0

    def do_GET(self) -> None:
        type(self).seen += 1
        self.send_response(200)
        self.end_headers()

    do_CONNECT = do_POST = do_GET

    def log_message(self, *_arguments: object) -> None:
        """Nothing: a test server."""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """A plain web server that must never see a request."""
    _Counter.seen = 0
    server = HTTPServer(("127.0.0.1", 0), _Counter)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_other_address_is_refused_and_sees_nothing(proxy: str, elsewhere: str) -> None:
    with httpx.Client(proxy=proxy, trust_env=False, timeout=30) as client:
        for target in (
            elsewhere,
            "http://example.invalid/",
            elsewhere.replace("127.0.0.1", "localhost"),
        ):
            refused = client.get(target)
            assert refused.status_code == 403
            assert "." in refused.text
        with pytest.raises(httpx.ProxyError, match="403"):
            client.get(elsewhere.replace("http://", "https://"))
    assert _Counter.seen == 0


def test_an_unattesting_server_as_the_service_is_refused_and_sees_no_question(
    house: House, elsewhere: str
) -> None:
    code, answer, _ = house.user.attempt("ask", "the secret question", "--url", elsewhere)
    assert code in (10, 75)
    assert answer["error"]["message"]
    assert "secret question" not in str(answer)


def test_database_folder_holds_no_word_of_any_document_name_or_key(house: House) -> None:
    words = ["Solberg", "Trondheim", "Gothenburg", "incident-runbook", "greenhouse-energy",
             "数字化转型", "数据孤岛", "海川纺织", "白毫银针", "records officer"]  # fmt: skip
    key = (house.owner.home / "keys" / "master.key").read_bytes()
    needles = {word: word.encode() for word in words}
    needles |= {f"{word} (UTF-16)": word.encode("utf-16-le") for word in words}
    needles |= {"key": key, "key hex": key.hex().encode(), "key base64": base64.b64encode(key)}
    files = [path for path in (house.owner.home / "postgres").rglob("*") if path.is_file()]
    assert any("pg_wal" in str(path) for path in files)
    assert sum(path.stat().st_size for path in files) > 1_000_000
    for path in files:
        content = path.read_bytes()
        for name, needle in needles.items():
            assert needle not in content, f"{name} stands in {Path(path).name}"
