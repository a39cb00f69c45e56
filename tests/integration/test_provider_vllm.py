"""How vLLM is started. vLLM itself is too heavy here: a program of that name stands in its place,
which reads the configuration as vLLM does and answers two requests."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import httpx
import pytest

from crag_core.errors import CragError, NotSupported
from crag_provider.llm import vllm as module
from crag_provider.llm.vllm import find_vllm, vllm
from crag_provider.model.opening import OpenModel
from support.provider import descendants, gone

STAND_IN = """#!{python}
import http.server, json, os, pathlib, subprocess, sys
assert sys.argv[1] == "serve" and sys.argv[3] == "--config" and sys.argv[4].endswith(".yaml")
options = json.loads(pathlib.Path(sys.argv[4]).read_text())
folder = pathlib.Path(sys.argv[2])
if (folder / "broken").exists():
    sys.exit(3)
worker = subprocess.Popen(["sleep", "600"])
pathlib.Path(folder, "seen").write_text(json.dumps([sys.argv, dict(os.environ), options]))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.headers.get("authorization") == "Bearer " + options["api-key"]
        self.send_response(200 if allowed else 401)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer((options["host"], options["port"]), Handler).serve_forever()
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "vllm"
    path.parent.mkdir()
    path.write_text(STAND_IN.format(python=sys.executable))
    path.chmod(0o755)
    monkeypatch.setattr(module, "find_vllm", lambda: str(path))
    return path


def model(folder: Path, access: str = "fuse") -> OpenModel:
    return OpenModel(folder, (), access, "" if access == "fuse" else "/dev/fuse is missing")


@pytest.mark.usefixtures("program")
def test_vllm_serves_on_loopback_with_a_key_that_only_memory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "of somebody else")
    others = set(descendants(os.getpid()))  # servers of other tests' fixtures live on
    with vllm(model(tmp_path), 4096, seconds=30) as up:
        argv, environment, options = json.loads((tmp_path / "seen").read_text())
        assert options["host"] == "127.0.0.1" and options["max-model-len"] == 4096
        assert up.api_key == options["api-key"]
        assert up.api_key not in json.dumps([argv, environment])
        assert "OPENAI_API_KEY" not in environment
        assert environment["VLLM_NO_USAGE_STATS"] == "1" and environment["HF_HUB_OFFLINE"] == "1"
        headers = {"authorization": f"Bearer {up.api_key}"}
        assert httpx.get(f"{up.url}/models", headers=headers, trust_env=False).status_code == 200
        assert up.alive()
        children = [pid for pid in descendants(os.getpid()) if pid not in others]
        assert len(children) >= 2
    assert not up.alive()
    gone(children)
    assert not Path(argv[4]).exists()


@pytest.mark.usefixtures("program")
def test_a_vllm_that_ends_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(CragError, match="status 3"), vllm(model(tmp_path), 4096, seconds=30):
        raise AssertionError("it started")


@pytest.mark.usefixtures("program")
def test_vllm_needs_a_mounted_model(tmp_path: Path) -> None:
    with pytest.raises(NotSupported, match="/dev/fuse"), vllm(model(tmp_path, "memory"), 4096):
        raise AssertionError("it started")


def test_without_vllm_another_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotSupported) as missing:
        find_vllm()
    assert "llamacpp" in missing.value.hint
