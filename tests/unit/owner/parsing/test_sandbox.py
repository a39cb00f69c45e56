"""The parsing sandbox against parsers that attack it: each costs its own file only."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.errors import BadInput, NotSupported
from crag_owner.parsing import Section, Unreadable
from crag_owner.parsing.sandbox import ParsingSandbox, SandboxLimits, seccomp
from crag_owner.parsing.text import TextParser
from support.hostile_parsers import BY_NAME
from support.poll import until

TESTS = str(Path(__file__).parents[3])
MIB = 1024 * 1024
EPERM = "errno 1"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ParsingSandbox]:
    limits = SandboxLimits(seconds=60, memory=256 * MIB, text=8 * MIB)
    with ParsingSandbox(limits, registry="support.hostile_parsers", path=[TESTS]) as made:
        yield made


@pytest.fixture(scope="module")
def impatient() -> Iterator[ParsingSandbox]:
    limits = SandboxLimits(seconds=3)
    with ParsingSandbox(limits, registry="support.hostile_parsers", path=[TESTS]) as made:
        yield made


def _run(sandbox: ParsingSandbox, name: str, data: bytes = b"hello") -> str:
    (section,) = sandbox.parse(BY_NAME[name], data).sections
    return section.text


def _refused(sandbox: ParsingSandbox, name: str, data: bytes = b"hello") -> str:
    with pytest.raises(Unreadable) as caught:
        sandbox.parse(BY_NAME[name], data)
    assert _run(sandbox, "echo", b"the next file") == "the next file"
    return caught.value.reason


def test_bytes_go_in_and_sections_come_out(sandbox: ParsingSandbox) -> None:
    text = "第一行\n" * 400_000
    assert _run(sandbox, "echo", text.encode()) == text
    assert sandbox.parse(BY_NAME["echo"], b"a").sections == [Section("a")]


@pytest.mark.parametrize("name", ["loop", "sleep"])
def test_a_hang_costs_its_time_and_that_file(impatient: ParsingSandbox, name: str) -> None:
    begun = time.monotonic()
    assert _refused(impatient, name) == "takes more than 3 s to parse"
    assert time.monotonic() - begun < 20


def test_a_memory_hog_is_stopped_at_its_limit(sandbox: ParsingSandbox) -> None:
    assert _refused(sandbox, "hog") == "needs more than 256 MiB of memory to be parsed"


def test_an_answer_has_a_limit(sandbox: ParsingSandbox) -> None:
    with ParsingSandbox(
        SandboxLimits(seconds=30, text=MIB), registry="support.hostile_parsers", path=[TESTS]
    ) as small:
        assert _refused(small, "flood") == "holds more than 1 MiB of text"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("leave_without_a_word", "cannot be parsed: its parser gave an answer that makes no sense"),
        ("segfault", "crashed its parser (signal 11)"),
        ("recurse", "is nested too deeply"),
    ],
)
def test_a_crash_is_named(sandbox: ParsingSandbox, name: str, reason: str) -> None:
    assert _refused(sandbox, name) == reason


def test_what_a_parser_raises_is_named_but_not_quoted(sandbox: ParsingSandbox) -> None:
    reason = _refused(sandbox, "raise_with_the_text", b"secret words")
    assert reason == "cannot be parsed: ValueError in its parser"


def test_a_reason_cannot_steer_a_terminal(sandbox: ParsingSandbox) -> None:
    assert _refused(sandbox, "refuse_with_escapes") == "is ?[2Jodd?"


def test_an_answer_without_end_is_cut_off(sandbox: ParsingSandbox) -> None:
    assert _refused(sandbox, "flood_raw") == "holds more than 8 MiB of text"


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "nonsense",
        "[" * 200_000,
        "[]",
        "{}",
        '{"sections": [], "metadata": {}, "missing": ""}',
        '{"sections": [["a", "b"]], "metadata": {}, "missing": ""}',
        '{"sections": [[1, "", null]], "metadata": {}, "missing": ""}',
        '{"sections": [["a", "", 0]], "metadata": {}, "missing": ""}',
        '{"sections": [["a", "", true]], "metadata": {}, "missing": ""}',
        '{"sections": [["a", "", 99999999999]], "metadata": {}, "missing": ""}',
        '{"sections": [["a\\u0000", "", null]], "metadata": {}, "missing": ""}',
        '{"sections": [["\\ud800", "", null]], "metadata": {}, "missing": ""}',
        '{"sections": [["a", "\\udfff", null]], "metadata": {}, "missing": ""}',
        '{"sections": [["a", "", null]], "metadata": {"\\ud800": ""}, "missing": ""}',
        '{"sections": [["a", "", null]], "metadata": 7, "missing": ""}',
        '{"sections": [["a", "", null]], "metadata": {}}',
        '{"sections": [["a", "", null]], "metadata": {}, "missing": null}',
        '{"sections": [["a", "", null]], "metadata": {}, "missing": ["a"]}',
        '{"unreadable": 7}',
        json.dumps({"sections": [["a", "h" * 2000, None]], "metadata": {}, "missing": ""}),
        json.dumps({"sections": [["a" * (MIB + 1), "", None]], "metadata": {}, "missing": ""}),
        json.dumps({"sections": [["a", "", None]] * 200_001, "metadata": {}, "missing": ""}),
    ],
    ids=lambda answer: answer[:40],
)
def test_an_answer_that_a_child_forged_is_not_taken(sandbox: ParsingSandbox, answer: str) -> None:
    reason = _refused(sandbox, "answer_raw", answer.encode())
    assert reason == "cannot be parsed: its parser gave an answer that makes no sense"


def test_the_forged_answers_differ_from_a_good_one_in_one_thing(sandbox: ParsingSandbox) -> None:
    good = b'{"sections": [["a", "h", 1]], "metadata": {"title": "t"}, "missing": "p\\u001b[2J"}'
    document = sandbox.parse(BY_NAME["answer_raw"], good)
    assert document.missing == "p?[2J"
    assert document.sections == [Section("a", "h", 1)]
    assert document.metadata == {"title": "t"}


@pytest.mark.parametrize("name", ["connect", "execute", "trace"])
def test_network_programs_and_other_processes_end_the_parser(
    sandbox: ParsingSandbox, name: str
) -> None:
    assert _refused(sandbox, name).startswith("was stopped: its parser tried to reach the network")


@pytest.mark.parametrize("name", ["spawn", "fork", "kill_the_server", "executable_memory"])
def test_processes_and_code_are_refused(sandbox: ParsingSandbox, name: str) -> None:
    assert _run(sandbox, name) == EPERM


def test_a_thread_is_refused(sandbox: ParsingSandbox) -> None:
    assert _run(sandbox, "thread") == "refused"


@pytest.mark.parametrize("name", ["read_file", "stat_file", "write_file", "unlink_file"])
@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "key", "/"])
def test_no_file_can_be_reached(
    sandbox: ParsingSandbox, name: str, path: str, tmp_path: Path
) -> None:
    key = tmp_path / "master.key"
    key.write_text("crag-key-v1:secret")
    key.chmod(0o666)
    tmp_path.chmod(0o777)
    target = str(key) if path == "key" else path
    assert _run(sandbox, name, target.encode()) == EPERM
    assert key.read_text() == "crag-key-v1:secret"


def test_a_child_inherits_neither_environment_nor_descriptors_nor_root(
    sandbox: ParsingSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAG_OWNER_MASTER_KEY", "secret")
    with ParsingSandbox(registry="support.hostile_parsers", path=[TESTS]) as fresh:
        environment, user, descriptors = _run(fresh, "surroundings").rsplit(" ", 2)
    assert "CRAG" not in environment
    assert int(user) == (65534 if os.geteuid() == 0 else int(user))
    assert int(user) != 0
    assert int(descriptors) == 1


def test_files_are_parsed_at_once_by_threads(impatient: ParsingSandbox) -> None:
    found: list[str] = []
    refused: list[str] = []

    def work(number: int) -> None:
        found.extend(_run(impatient, "echo", f"{number}.{step}".encode()) for step in range(5))

    slow = threading.Thread(target=lambda: refused.append(_refused(impatient, "sleep")))
    threads = [slow, *(threading.Thread(target=work, args=(number,)) for number in range(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found) == sorted(f"{a}.{b}" for a in range(4) for b in range(5))
    assert refused == ["takes more than 3 s to parse"]


def _processes_of(server: int) -> list[int]:
    children = Path(f"/proc/{server}/task/{server}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


def _gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_closing_leaves_no_process_behind() -> None:
    made = ParsingSandbox(registry="support.hostile_parsers", path=[TESTS])
    failed = threading.Event()

    def work() -> None:
        try:
            made.parse(BY_NAME["sleep"], b"x")
        except Exception:  # noqa: BLE001 - any end will do
            failed.set()

    made.start()
    assert made._server is not None
    server = made._server.pid
    thread = threading.Thread(target=work)
    thread.start()
    until(lambda: _processes_of(server), 20)
    (child,) = _processes_of(server)
    os.kill(server, 9)
    until(lambda: _gone(child), 20)
    made.close()
    assert _gone(server)
    thread.join(150)
    assert not thread.is_alive()


def test_a_fork_server_that_died_is_started_again() -> None:
    with ParsingSandbox(registry="support.hostile_parsers", path=[TESTS]) as made:
        assert _run(made, "echo") == "hello"
        assert made._server is not None
        first = made._server.pid
        os.kill(first, 9)
        made._server.wait(20)
        assert _run(made, "echo") == "hello"
        assert made._server.pid != first


def test_a_system_without_a_filter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "architecture", lambda: None)
    with ParsingSandbox() as made, pytest.raises(NotSupported, match="no filter for system calls"):
        made.parse(TextParser(), b"text")


@pytest.mark.parametrize("limits", [{"seconds": 0}, {"seconds": 1e9}, {"memory": MIB}])
def test_limits_that_let_nothing_through_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="cannot be"):
        SandboxLimits(**limits)
