"""The provider's operator sends questions out, hooks the process, or lets memory out."""

from __future__ import annotations

from pathlib import Path

import pytest

from crag_core.errors import NotSupported, UsageError
from crag_provider import hardening
from crag_provider.llm import vllm
from crag_provider.measuring import process
from crag_provider.settings import checked_embedder, checked_llm


@pytest.mark.parametrize(
    "url",
    [
        "https://embeddings.example/v1",
        "http://10.0.0.1:80/v1",
        "http://localhost:8002/v1",
        "http://127.0.0.1.evil.example/v1",
        "https://127.0.0.1@evil.example/v1",
    ],
)
def test_no_server_elsewhere_reads_questions_or_passages(url: str) -> None:
    with pytest.raises(NotSupported, match="outside this machine"):
        checked_embedder(url)
    with pytest.raises((NotSupported, UsageError)):
        checked_llm(url)


def test_servers_on_loopback_are_possible() -> None:
    assert checked_embedder("http://127.0.0.1:8002/v1") == "http://127.0.0.1:8002/v1"
    assert checked_embedder("") == ""
    assert checked_llm("http://[::1]:8001/v1") == "http://[::1]:8001/v1"


@pytest.mark.parametrize("name", ["LD_PRELOAD", "PYTHONPATH", "SSLKEYLOGFILE"])
def test_what_hooks_the_process_changes_the_measurement(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    before = process()
    monkeypatch.setenv(name, "/tmp/a")
    one = process()
    monkeypatch.setenv(name, "/tmp/b")
    assert len({str(found) for found in (before, one, process())}) == 3
    assert "/tmp" not in str(one)


def test_a_startup_module_changes_the_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = process()
    (tmp_path / "usercustomize.py").write_text("import os\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert process()["startup"].items() > before["startup"].items()


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ("", False),
        ("/dev/zram0 partition 1 0 100\n", False),
        ("/dev/sda2 partition 1 0 -2\n", True),
        ("/dev/zram0 partition 1 0 100\n/swapfile file 1 0 -2\n", True),
    ],
)
def test_swap_on_a_disk_is_seen(monkeypatch: pytest.MonkeyPatch, listed: str, found: bool) -> None:
    header = "Filename Type Size Used Priority\n"
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_more: header + listed)
    assert hardening.swaps() is found


def test_vllm_shares_no_cache_between_callers() -> None:
    options = vllm._options(vllm.free_endpoint(), 2048)
    assert options["no-enable-prefix-caching"] is True
