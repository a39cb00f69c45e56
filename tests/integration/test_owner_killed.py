"""``crag-owner ingest`` killed or cut off while it parses, embeds and writes at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crag_core.collection import Collection
from crag_core.store.postgres import PostgresStore
from crag_owner import keyfile
from support.owner import Owner, Server, execute, postgres_on_tcp
from support.poll import until

DOCUMENTS = 24


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_on_tcp() as running:
        yield running


@contextmanager
def _embedding_server() -> Iterator[str]:
    """An embedding server whose vectors follow from the texts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            data = [
                {"index": index, "embedding": list(hashlib.sha256(text.encode()).digest())}
                for index, text in enumerate(texts)
            ]
            body = json.dumps({"data": data}).encode()
            with contextlib.suppress(ConnectionError):
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_address[1]}"
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


@pytest.fixture
def owner(tmp_path: Path, server: Server) -> Iterator[Owner]:
    work = tmp_path / "work"
    docs = work / "docs"
    docs.mkdir(parents=True)
    for number in range(DOCUMENTS):
        # From one chunk to some hundred: several transactions, none at a fixed document.
        lines = [
            f"Field {number}-{line}: " + "tea leaves in spring " * 30
            for line in range(1 + 4 * number)
        ]
        (docs / f"{number:02}.txt").write_text("\n\n".join(lines))
    made = Owner(tmp_path / "home", work)
    made.use(server.user)
    with _embedding_server() as url:
        made.settings["CRAG_EMBEDDER"], made.settings["CRAG_EMBEDDER_URL"] = "openai:m", url
        yield made


def _wait_for_commits(process_stderr: int, count: int) -> None:
    """Until ``count`` documents are committed, as the events say."""
    os.set_blocking(process_stderr, False)
    seen = bytearray()

    def committed() -> bool:
        with contextlib.suppress(BlockingIOError):
            seen.extend(os.read(process_stderr, 1 << 20))
        return seen.count(b'"status": "added"') >= count

    until(committed, 60, f"{count} documents")


def _content(owner: Owner, server: Server) -> dict[str, list[str]]:
    """Every passage in reading order, by the document's source."""
    key = keyfile.load(str(owner.home / "keys" / "master.key"))
    with PostgresStore(server.user) as store:
        opened = Collection.open(store, owner.settings["CRAG_COLLECTION"], key)
        return {
            info.source: [row.text for row in opened.chunks_of(info)] for info in opened.documents()
        }


@pytest.mark.parametrize("mode", ["database", "enclave"])
def test_killed_again_and_again_it_ends_like_an_undisturbed_run(
    owner: Owner, server: Server, mode: str
) -> None:
    ingest = ["ingest", "docs", "--search-mode", mode]
    owner.settings["CRAG_COLLECTION"] = f"whole-{uuid.uuid4().hex}"
    whole = owner.ok(*ingest)
    wanted = _content(owner, server)
    owner.settings["CRAG_COLLECTION"] = f"killed-{uuid.uuid4().hex}"
    kept = 0
    for _ in range(3):
        with owner.started(*ingest, "--events") as process:
            assert process.stderr is not None
            _wait_for_commits(process.stderr.fileno(), 1)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
        assert owner.ok("verify")["ok"] is True
        # Never less than before, and nothing half.
        found = owner.ok("list")["documents"]
        assert kept < len(found) or len(found) == DOCUMENTS
        kept = len(found)
        assert all(each["chunks"] == len(wanted[each["source"]]) for each in found)
        if kept == DOCUMENTS:
            break
    report = owner.ok(*ingest)
    assert report["documents"]["unchanged"] == kept
    assert report["chunks"]["total"] == whole["chunks"]["total"]
    assert report["snapshot"]["rows"] == whole["snapshot"]["rows"]
    assert _content(owner, server) == wanted
    assert owner.ok("verify")["ok"] is True


def test_a_lost_connection_exits_75_and_leaves_the_last_committed_state(
    owner: Owner, server: Server
) -> None:
    owner.settings["CRAG_COLLECTION"] = f"lost-{uuid.uuid4().hex}"
    # Whoever writes loses the connection: the second transaction never ends.
    with owner.started("ingest", "docs", "--events", "--json") as process:
        assert process.stderr is not None
        _wait_for_commits(process.stderr.fileno(), 1)

        def cut() -> bool:
            execute(
                server.admin,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rag'",
            )
            return process.poll() is not None

        until(cut, 60, "the end of the run")
        assert process.returncode == 75
    kept = owner.ok("list")["documents"]
    assert 0 < len(kept) < DOCUMENTS
    assert owner.ok("verify")["ok"] is True
    report = owner.ok("ingest", "docs")
    assert report["documents"]["unchanged"] == len(kept)
    assert report["documents"]["added"] == DOCUMENTS - len(kept)
