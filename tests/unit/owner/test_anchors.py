"""What this machine remembers of a collection, while other programs remember too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crag_core.errors import IntegrityViolated
from crag_core.snapshot import Anchor, Snapshot
from crag_core.store.settings import DatabaseSettings
from crag_owner.anchors import Anchors

SALT = "ab" * 32


def _snapshot(sequence: int) -> Snapshot:
    root = f"{sequence:064x}"
    return Snapshot("documents", SALT, sequence, 1, 1, 1, root, "", "2026-11-21T00:00:00Z")


class _Collection:
    """Gives one snapshot after the other; what another program does in between happens then."""

    def __init__(self, anchors: Anchors, found: list[int], others: dict[int, int]) -> None:
        self._anchors = anchors
        self._found: Iterator[int] = iter(found)
        self._others = others
        self.read = 0

    def snapshot(self) -> Snapshot:
        sequence = next(self._found)
        self.read += 1
        if self.read in self._others:
            self._anchors.file.advance(Anchor.of(_snapshot(self._others[self.read])))
        return _snapshot(sequence)


@pytest.fixture
def anchors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Anchors:
    monkeypatch.setenv("CRAG_HOME", str(tmp_path))
    made = Anchors(DatabaseSettings(), "documents")
    made.file.advance(Anchor.of(_snapshot(4)))
    return made


def _sequence(anchors: Anchors) -> int:
    known = anchors.load()
    assert known is not None
    return known.sequence


def test_what_another_program_wrote_and_remembered_meanwhile_is_no_rollback(
    anchors: Anchors,
) -> None:
    found: Any = _Collection(anchors, [5, 6], {1: 6})
    anchors.save(found)
    assert (found.read, _sequence(anchors)) == (2, 6)
    found = _Collection(anchors, [7, 8, 9], {1: 8, 2: 9})
    anchors.save(found)
    assert (found.read, _sequence(anchors)) == (3, 9)
    found = _Collection(anchors, [9], {1: 10})
    anchors.check(found)


def test_an_older_snapshot_is_a_rollback_all_the_same(anchors: Anchors) -> None:
    for action in (anchors.save, anchors.check):
        found: Any = _Collection(anchors, [3], {})
        with pytest.raises(IntegrityViolated, match="older than 4") as refused:
            action(found)
        assert str(anchors.file.path) in str(refused.value.hint)
    found = _Collection(anchors, [3, 3], {1: 5})
    with pytest.raises(IntegrityViolated, match="older than 5"):
        anchors.save(found)
    assert _sequence(anchors) == 5
