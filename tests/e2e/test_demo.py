"""``make demo`` answers a question through the verified tunnel and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support import leftovers
from support.poll import until

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"


def _demo(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, DEMO, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
        env={**os.environ, "TMPDIR": str(temporary)},
    )


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A short folder that PostgreSQL's own user can pass: unix sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="cdemo") as made:
        Path(made).chmod(0o711)
        yield Path(made)


def test_demo_prints_one_object_with_a_right_answer_and_tidies_up(temporary: Path) -> None:
    done = _demo(temporary, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["question"] == "Who is the incident commander of the payment gateway?"
    assert "Ingrid Solberg" in answer["answer"]
    assert answer["citations"][0]["source"].endswith("incident-runbook.md")
    assert "Ingrid Solberg" in answer["citations"][0]["text"]
    attestation = answer["attestation"]
    assert attestation["verdict"] == "affirming"
    assert attestation["insecure"] is True
    assert attestation["tee"] == "sample"
    assert all(check["ok"] for check in attestation["checks"])
    assert {
        "verdict",
        "insecure",
        "tee",
        "measurements",
        "tcb",
        "gpu",
        "policy_id",
        "token",
    } <= set(attestation)
    assert answer["receipt"]["format"] == "crag/receipt/v1"
    assert answer["receipt"]["rows"]
    assert answer["timings_ms"]["demo_total"] > 0
    assert "made by software" in done.stderr
    until(lambda: not leftovers.processes(str(temporary)), 20, "the end of every process")
    assert not leftovers.mounts(str(temporary))
    assert not list(temporary.iterdir())


def test_kept_demo_answers_by_hand_and_stops_when_told(temporary: Path) -> None:
    done = _demo(temporary, "--keep", "--json")
    try:
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        with httpx.Client(proxy=answer["proxy"], timeout=60, trust_env=False) as client:
            asked = client.post(
                f"{answer['url']}/rag/query", json={"question": "Who manages the Alta branch?"}
            )
            assert asked.status_code == 200
            assert "Kari Nilsen" in asked.text
            assert asked.headers["x-crag-evidence"] == "insecure"
            assert client.get("http://127.0.0.1:9/").status_code == 403
    finally:
        stopped = _demo(temporary, "--stop", "--json")
    assert json.loads(stopped.stdout) == {"stopped": True}
    until(lambda: not leftovers.processes(str(temporary)), 20, "the end of every process")
    assert not leftovers.mounts(str(temporary))
    assert not list(temporary.iterdir())
    assert json.loads(_demo(temporary, "--stop", "--json").stdout) == {"stopped": False}
