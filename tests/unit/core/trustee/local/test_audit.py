"""The audit log: one line an event, chained, whole after a crash, bounded for refusals."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from crag_core.trustee.local import audit
from crag_core.trustee.local.audit import Audit
from crag_core.trustee.local.audit_log import AuditLog
from crag_core.trustee.local.folder import Folder


def lines(folder: Folder) -> list[bytes]:
    return folder.path("audit.jsonl").read_bytes().split(b"\n")[:-1]


def test_each_line_names_the_one_before_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    for number in range(5):
        Audit(folder).record("released", resource=f"a/b/{number}")
    found = lines(folder)
    before = [""] + [hashlib.sha256(line).hexdigest() for line in found[:-1]]
    assert [json.loads(line)["previous"] for line in found] == before


def test_a_torn_line_is_closed_and_still_counted(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    Audit(folder).record("released")
    with folder.path("audit.jsonl").open("ab") as stream:
        stream.write(b'{"torn')
    Audit(folder).record("released")
    found = lines(folder)
    assert found[1] == b'{"torn'
    assert json.loads(found[2])["previous"] == hashlib.sha256(found[1]).hexdigest()


def test_refusals_cannot_fill_the_disk_and_releases_are_always_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "REFUSALS_UP_TO", 200)
    folder = Folder(tmp_path / "t")
    for _ in range(20):
        Audit(folder).record("refused", refusal=True)
    refused = len(lines(folder))
    assert refused < 5
    Audit(folder).record("released")
    assert len(lines(folder)) == refused + 1


@pytest.mark.parametrize("size", [10, 65_400, 65_536, 70_000, 600_000])
def test_the_chain_holds_over_long_lines(tmp_path: Path, size: int) -> None:
    folder = Folder(tmp_path / "t")
    for length in (size, 1, size, size):
        Audit(folder).record("reference-values-set", values="x" * length)
    assert AuditLog(folder).broken_at() is None
    with folder.path("audit.jsonl").open("ab") as stream:
        stream.write(b"y" * size)
    Audit(folder).record("released")
    assert AuditLog(folder).broken_at() is None
    raw = folder.path("audit.jsonl").read_bytes()
    folder.path("audit.jsonl").write_bytes(raw.replace(b'"values":"xx', b'"values":"yx', 1))
    assert AuditLog(folder).broken_at() == 2
