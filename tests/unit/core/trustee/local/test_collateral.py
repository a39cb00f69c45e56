"""Where the local Trustee's verifiers get collateral from, and what a slow PCCS may cost."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.pccs import PccsSource
from crag_core.errors import Unreachable
from crag_core.trustee.local import collateral
from crag_core.trustee.local.collateral import LocalCollateral, NoCollateral
from crag_core.trustee.local.folder import Folder
from support.hardware import intel


def test_a_slow_pccs_holds_up_a_few_requests_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collateral, "FETCHES", 2)
    monkeypatch.setattr(collateral, "WAIT_SECONDS", 0.05)
    inside, answers = threading.Semaphore(0), threading.Event()

    def slow(*_arguments: Any) -> dict[str, Any]:
        inside.release()
        assert answers.wait(20)
        raise Unreachable("away")

    monkeypatch.setattr(PccsSource, "fetch", slow)
    found = LocalCollateral(Folder(tmp_path / "t"), "http://127.0.0.1:1")
    told: list[str] = []

    def ask() -> None:
        with pytest.raises(NoCollateral) as refused:
            found.find(intel().quote())
        told.append(refused.value.sentence)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert inside.acquire(timeout=20)
    ask()
    assert told == ["Collateral of 2 platforms is being fetched already."]
    answers.set()
    for thread in threads:
        thread.join(20)
    ask()
    assert len(told) == 4
    assert all("no PCCS answers" in sentence for sentence in told[1:])
