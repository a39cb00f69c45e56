"""The manners that all three commands share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from crag_core.command import command, group, option, run
from crag_core.errors import (
    AttestationRejected,
    BadInput,
    CragError,
    IntegrityViolated,
    NotSupported,
    PolicyDenied,
    Unreachable,
    UsageError,
)

CODES = {
    CragError: 1,
    UsageError: 2,
    AttestationRejected: 10,
    PolicyDenied: 11,
    IntegrityViolated: 12,
    NotSupported: 20,
    BadInput: 30,
    Unreachable: 75,
}


def _root(seen: dict[str, object], raises: Exception | None = None):  # type: ignore[no-untyped-def]
    @command("work")
    @option("--host", setting="db_host", default="nowhere")
    @option("--password", literal_secret=True)
    @option("--label", multiple=True)
    def work(host: str, password: str | None, label: tuple[str, ...]) -> None:
        seen.update(host=host, password=password, label=label)
        if raises is not None:
            raise raises

    root = group("crag-owner", "Test.", {
        "config": ("crag_core.settings_command:config_group", "Settings."),
        "completion": ("crag_core.settings_command:completion", "Completion."),
    })  # fmt: skip
    root.add_command(work)
    return root


def test_flag_beats_environment_beats_project_file_beats_user_file_beats_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, object] = {}
    root = _root(seen)
    monkeypatch.chdir(tmp_path)

    def host(*arguments: str) -> object:
        assert run(root, "owner", ["work", *arguments]) == 0
        return seen["host"]

    assert host() == "nowhere"
    user = Path(os.environ["XDG_CONFIG_HOME"]) / "crag" / "config.toml"
    user.parent.mkdir(parents=True)
    user.write_text('[shared]\ndb_host = "user-shared"\n')
    assert host() == "user-shared"
    user.write_text('[shared]\ndb_host = "user-shared"\n[owner]\ndb_host = "user-owner"\n')
    assert host() == "user-owner"
    (tmp_path / "crag.toml").write_text('[owner]\ndb_host = "project"\n')
    assert host() == "project"
    other = tmp_path / "other.toml"
    other.write_text('[owner]\ndb_host = "other"\nlabel = ["a=1", "b=2"]\n')
    assert host("--config", str(other)) == "other"
    assert seen["label"] == ("a=1", "b=2")
    monkeypatch.setenv("CRAG_DB_HOST", "shared-variable")
    assert host() == "shared-variable"
    monkeypatch.setenv("CRAG_OWNER_DB_HOST", "own-variable")
    assert host() == "own-variable"
    assert host("--host", "flag") == "flag"


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_each_error_has_its_exit_code_and_its_object(
    kind: type[CragError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    error = kind("The thing is wrong.", hint="Do that.", details={"line": 3})
    assert run(_root({}, error), "owner", ["work", "--json"]) == code
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {
        "error": {
            "code": kind.slug,
            "exit": code,
            "message": "The thing is wrong.",
            "hint": "Do that.",
            "details": {"line": 3},
        }
    }
    assert run(_root({}, error), "owner", ["work"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "crag-owner: The thing is wrong.\n  Do that.\n"


def test_a_full_disk_is_no_defect(capsys: pytest.CaptureFixture[str]) -> None:
    full = OSError(28, "No space left on device", "/some/file")
    assert run(_root({}, full), "owner", ["work", "--json"]) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "disk-full"
    assert error["message"] == "A file /some/file cannot be written: No space left on device."


def test_a_defect_shows_its_place_but_never_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_root({}, ValueError("the secret document")), "owner", ["work", "-vv"]) == 1
    printed = capsys.readouterr()
    assert "secret" not in printed.out + printed.err
    assert "ValueError at" in printed.err


def test_the_code_that_a_command_exits_with_is_the_exit_code() -> None:
    @command("fail")
    @click.pass_context
    def fail(ctx: click.Context) -> None:
        ctx.exit(12)

    root = _root({})
    root.add_command(fail)
    assert run(root, "owner", ["fail"]) == 12


def test_usage_error_is_reported_in_the_form_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(_root({}), "owner", ["work", "--nope", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["exit"] == 2
    assert run(_root({}), "owner", ["work", "--nope"]) == 2
    assert "crag-owner work --help" in capsys.readouterr().err


def test_a_literal_secret_is_accepted_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    seen: dict[str, object] = {}
    assert run(_root(seen), "owner", ["work", "--password", "hunter2"]) == 0
    printed = capsys.readouterr().err
    assert seen["password"] == "hunter2"
    assert "warning" in printed and "hunter2" not in printed


def test_config_show_names_each_origin_and_masks_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRAG_PASSWORD", "hunter2")
    monkeypatch.setenv("CRAG_OWNER_DB_HOST", "db.example")
    assert run(_root({}), "owner", ["config", "show", "--json"]) == 0
    printed = capsys.readouterr().out
    assert "hunter2" not in printed
    settings = {row["setting"]: row for row in json.loads(printed)["settings"]}
    assert settings["db_host"]["value"] == "db.example"
    assert settings["db_host"]["origin"] == "environment CRAG_OWNER_DB_HOST"
    assert settings["password"]["value"] == "********"
    assert settings["label"]["origin"] == "default"


def test_a_broken_configuration_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "crag.toml").write_text("not toml")
    assert run(_root({}), "owner", ["work"]) == 30
    assert "crag.toml" in capsys.readouterr().err


@pytest.mark.parametrize("role", ["owner", "provider", "user"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_complete_the_real_command(role: str, shell: str) -> None:
    program = Path(sys.executable).parent / f"crag-{role}"
    done = subprocess.run(
        [program, "completion", shell], capture_output=True, text=True, check=True, timeout=60
    )
    variable = f"_CRAG_{role.upper()}_COMPLETE"
    assert variable in done.stdout
    if shell == "bash":
        words = f"crag-{role} con"
        environment = {**os.environ, variable: "bash_complete", "COMP_WORDS": words,
                       "COMP_CWORD": "1"}  # fmt: skip
        answer = subprocess.run(
            [program], capture_output=True, text=True, check=False, env=environment, timeout=60
        )
        assert "config" in answer.stdout


@pytest.mark.parametrize("role", ["owner", "provider", "user"])
def test_version_is_printed(role: str) -> None:
    program = Path(sys.executable).parent / f"crag-{role}"
    done = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.startswith(f"crag-{role}, version 0.")
