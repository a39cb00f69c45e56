"""Rate, time left and current file."""

from __future__ import annotations

import json

import pytest

from crag_core.console import Console
from crag_owner.ingest.progress import Progress, duration


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _progress(clock: Clock, size: int = 10_000) -> Progress:
    return Progress(Console(events=True), 20, size, clock)


def _shown(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_says_rate_time_left_and_file(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = _progress(clock)
    progress.show("docs/a.txt")
    clock.now += 10
    progress.add(files=2, size=2_500, chunks=50)
    progress.show("docs/b.txt", "3/9 chunks")
    first, second = _shown(capsys)
    assert first["eta_seconds"] is None
    assert second == {
        "event": "progress", "files": "2/20", "source": "docs/b.txt", "chunks": 50,
        "chunks_per_second": 5.0, "bytes_done": 2_500, "bytes_total": 10_000, "eta_seconds": 30.0,
    }  # fmt: skip


def test_files_that_did_not_change_make_no_false_promise(clock: Clock) -> None:
    progress = _progress(clock, size=1_000_000)
    clock.now += 2
    progress.add(files=10, size=900_000)
    for _ in range(120):
        clock.now += 1
        progress.add(size=100, chunks=1)
    # 88 000 bytes at 100 a second, although the run as a whole went by at 7475.
    assert progress.eta_seconds == pytest.approx(880, rel=0.05)


def test_it_is_shown_ten_times_a_second_at_most(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = _progress(clock)
    for _ in range(100):
        clock.now += 0.01
        progress.show("docs/a.txt")
    assert 9 <= len(_shown(capsys)) <= 11


def test_a_corpus_that_grew_meanwhile_is_not_more_than_done(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = _progress(clock)
    clock.now += 5
    progress.add(size=12_000)
    progress.show("docs/a.txt")
    (event,) = _shown(capsys)
    assert (event["bytes_done"], event["eta_seconds"]) == (10_000, 0.0)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (600, "10 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min")],
)
def test_a_person_reads_round_numbers(seconds: float, text: str) -> None:
    assert duration(seconds) == text
