"""Somebody hands over a folder whose settings or permissions work against its user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crag_core.command import LazyGroup, command, option, run
from crag_core.config import SettingsFiles, private_dir, write_private
from crag_core.errors import BadInput, UsageError


@pytest.mark.parametrize(
    ("table", "setting", "value"),
    [
        ("user", "allow_insecure_evidence", True),
        ("shared", "allow_insecure_evidence", True),
        ("user", "recheck", 3600),
        ("provider", "require_anchor", False),
    ],
)
def test_a_file_in_the_folder_switches_no_protection_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, setting: str, value: object
) -> None:
    file = tmp_path / "crag.toml"
    file.write_text(f"[{table}]\n{setting} = {str(value).lower()}\n")
    monkeypatch.chdir(tmp_path)
    role = "user" if table == "shared" else table
    with pytest.raises(UsageError, match=rf"crag\.toml sets {setting}"):
        SettingsFiles.load(role, None)
    named = SettingsFiles.load(role, file).lookup(setting)
    assert named is not None
    assert named.value == value


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_keys_are_not_kept_where_others_can_exchange_them(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(BadInput, match="open to other users"):
        write_private(folder / "master.key", b"secret")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_folders_that_others_cannot_change_are_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    folder.chmod(mode)
    assert private_dir(folder) == folder


def test_a_folder_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = tmp_path.stat().st_uid + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(BadInput, match="not yours"):
        private_dir(tmp_path)


@pytest.mark.parametrize("stranger", [False, True])
def test_settings_that_others_could_have_written_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stranger: bool
) -> None:
    file = tmp_path / "crag.toml"
    file.write_text('[owner]\ndb_host = "db.evil.example"\n')
    file.chmod(0o600 if stranger else 0o666)
    monkeypatch.chdir(tmp_path)
    if stranger:
        owner = tmp_path.stat().st_uid
        if owner == 0:
            os.chown(file, 4242, -1)
            owner = 4242
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    said = "another user" if stranger else "Every user"
    with pytest.raises(UsageError, match=said):
        SettingsFiles.load("owner", None)
    file.chmod(0o600)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert SettingsFiles.load("owner", None).lookup("db_host") is not None


def test_who_gets_keys_and_documents_is_said_when_the_folder_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "crag.toml").write_text('[shared]\ntrustee = "https://trustee.evil.example"\n')
    monkeypatch.chdir(tmp_path)
    tool = LazyGroup(name="crag-owner")

    @command("push")
    @option("--trustee")
    @option("--other")
    def push(trustee: str | None, other: str | None) -> None:
        del other
        assert trustee == "https://trustee.evil.example"

    tool.add_command(push)
    assert run(tool, "owner", ["push"]) == 0
    assert "trustee is set by crag.toml [shared]" in capsys.readouterr().err
    assert run(tool, "owner", ["push", "--trustee", "https://trustee.evil.example"]) == 0
    assert "is set by" not in capsys.readouterr().err
