"""Keys from the confidential data hub: by its command and by api-server-rest."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.errors import BadInput, CragError, IntegrityViolated, NotSupported, Unreachable
from crag_core.keys import MasterKey
from crag_provider import data_hub
from crag_provider.data_hub import PROGRAM, DataHub, hub_program
from crag_provider.key_release import released_keys
from crag_provider.settings import ProviderSettings
from support.fake_agent import FakeAgent

URI = "kbs:///default/crag/documents-key"
KEY = MasterKey.generate()


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        running.resources["default/crag/documents-key"] = bytes(KEY.raw)
        yield running


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command that notes how it was called and prints what ``answer`` says."""
    folder = tmp_path / "bin"
    folder.mkdir()
    made = folder / PROGRAM
    made.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/words\n'
        f"env > {tmp_path}/environment\n"
        "echo a log line with secrets >&2\n"
        f". {tmp_path}/answer\n"
    )
    made.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("CRAG_PROVIDER_LLM_API_KEY", "hunter2")
    return made


def says(tmp_path: Path, text: str) -> None:
    (tmp_path / "answer").write_text(text)


def test_the_command_is_asked_without_anything_of_ours(tmp_path: Path, program: Path) -> None:
    says(tmp_path, f"echo {base64.b64encode(KEY.raw).decode()}\n")
    with DataHub("http://127.0.0.1:1", tmp_path / "cdh.toml", "http://trustee/api") as hub:
        assert hub.fetch(URI) == KEY.raw
    words = (tmp_path / "words").read_text().strip()
    assert words == f"-c {tmp_path}/cdh.toml get-resource --resource-uri {URI}"
    environment = (tmp_path / "environment").read_text()
    assert "TRUSTEE_URL=http://trustee/api" in environment and "hunter2" not in environment
    assert hub_program(None) == program


@pytest.mark.parametrize("answer", ["exit 3", "echo not base64!", "true"])
def test_a_command_that_gives_nothing_is_a_refusal(
    tmp_path: Path, program: Path, answer: str, capfd: pytest.CaptureFixture[str]
) -> None:
    says(tmp_path, answer)
    with pytest.raises(CragError) as caught:
        DataHub("http://127.0.0.1:1", None, "http://trustee").fetch(URI)
    assert caught.value.code == "cdh-refused"
    assert "secrets" not in "".join(capfd.readouterr()) + caught.value.message


def test_a_command_that_does_not_end_is_given_up(
    tmp_path: Path, program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_hub, "SECONDS", 0.3)
    says(tmp_path, "exec sleep 60")
    with pytest.raises(Unreachable):
        DataHub("http://127.0.0.1:1", None, "http://trustee").fetch(URI)


def test_the_rest_interface_is_asked_where_there_is_no_command(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    hub = DataHub(agent.url, None, "http://trustee")
    assert hub.fetch(URI) == KEY.raw
    with pytest.raises(CragError) as caught:
        hub.fetch("kbs:///default/crag/other")
    assert caught.value.code == "cdh-refused"
    with pytest.raises(BadInput):
        hub.fetch("kbs:///../x")
    with pytest.raises(Unreachable, match="data hub"):
        DataHub("http://127.0.0.1:1", None, "http://trustee").fetch(URI)
    with pytest.raises(NotSupported, match="not installed"):
        DataHub(agent.url, Path("/cdh.toml"), "http://trustee").fetch(URI)


class _Nobody:
    """Evidence that nobody may ask for: the hub attests."""


def settings(agent: FakeAgent, check: str) -> ProviderSettings:
    return ProviderSettings(
        trustee_url="http://trustee",
        model_key_id="",
        alt_trustee_url="http://trustee",
        alt_key_id=URI,
        collection="documents",
        data_key_check=check,
        require_anchor=False,
        llm="extractive",
        key_source="cdh",
        agent_url=agent.url,
    )


def test_a_key_of_the_hub_is_checked_like_any_other(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    keys = released_keys(settings(agent, KEY.check_value()), _Nobody())  # type: ignore[arg-type]
    assert bytes(keys.data.buffer) == KEY.raw and keys.anchor is None
    with pytest.raises(IntegrityViolated):
        released_keys(
            settings(agent, MasterKey.generate().check_value()),
            _Nobody(),  # type: ignore[arg-type]
        )
    agent.resources["default/crag/documents-snapshot"] = b'{"a": 1}'
    keys = released_keys(settings(agent, KEY.check_value()), _Nobody())  # type: ignore[arg-type]
    assert keys.anchor == '{"a": 1}'
