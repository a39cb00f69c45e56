"""Where the database is, said without its password."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.command import command, group, run
from crag_core.errors import BadInput, UsageError
from crag_core.store.options import DatabaseSettings, database_options

SECRET = "Rag_1234-secret"


def test_the_password_is_in_no_representation() -> None:
    url = f"postgresql://rag:{SECRET}@host:5433/crag"
    for given_settings in (
        DatabaseSettings("host", 5433, "crag", "rag", SECRET),
        DatabaseSettings(url=url),
    ):
        assert SECRET not in repr(given_settings)
        assert given_settings.where() == "host:5433/crag as rag"
        assert given_settings.conninfo()["password"] == SECRET
        assert given_settings.given


def test_nothing_given_means_the_embedded_one() -> None:
    assert not DatabaseSettings().given
    assert not DatabaseSettings(password="x").given


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "postgresql://h/d", "host": "h"},
        {"url": "postgresql://h/d", "user": "u"},
        {"user": "u"},
        {"port": 5432},
        {"host": "h", "port": 70000},
        {"statement_seconds": 0},
        {"statement_seconds": 4000},
    ],
)
def test_contradictions_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        DatabaseSettings(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://h/d",
        "h:5432",
        "postgresql://[",
        f"postgresql://u:{SECRET}@h:x y/d?nonsense=1",
        "://",
    ],
)
def test_a_url_that_is_none_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(BadInput) as refused:
        DatabaseSettings(url=url).conninfo()
    assert SECRET not in refused.value.diagnostics()
    assert refused.value.__cause__ is None


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=40))
def test_no_url_makes_reading_fail_otherwise_than_by_refusal(text: str) -> None:
    try:
        found = DatabaseSettings(url=f"postgresql://{text}").conninfo()
    except BadInput:
        return
    assert isinstance(found, dict)


def test_a_limit_can_be_changed() -> None:
    assert DatabaseSettings().within(5) == replace(DatabaseSettings(), statement_seconds=5)


def _run(arguments: list[str]) -> tuple[int, list[DatabaseSettings]]:
    taken: list[DatabaseSettings] = []

    @command("take")
    @database_options
    def take(database: DatabaseSettings) -> None:
        taken.append(database)

    root = group("crag-owner", "test", {})
    root.add_command(take)
    return run(root, "owner", ["take", *arguments]), taken


def test_the_options_of_the_vendor_guide(capsys: pytest.CaptureFixture[str]) -> None:
    code, taken = _run(["-H", "db", "-p", "5432", "-d", "crag", "-U", "rag", "-P", SECRET])
    assert code == 0
    assert taken == [DatabaseSettings("db", 5432, "crag", "rag", SECRET)]
    assert "warning" in capsys.readouterr().err


def test_every_option_is_a_variable_of_role_or_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRAG_DB_HOST", "shared")
    monkeypatch.setenv("CRAG_OWNER_DB_HOST", "mine")
    monkeypatch.setenv("CRAG_DB_PORT", "5433")
    monkeypatch.setenv("CRAG_DB_NAME", "crag")
    monkeypatch.setenv("CRAG_DB_USER", "rag")
    monkeypatch.setenv("CRAG_DB_PASSWORD", SECRET)
    monkeypatch.setenv("CRAG_DB_TIMEOUT", "7")
    code, taken = _run([])
    assert code == 0
    assert taken == [DatabaseSettings("mine", 5433, "crag", "rag", SECRET, statement_seconds=7)]


def test_the_password_comes_from_a_file_and_only_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "password"
    file.write_text(SECRET + "\n")
    code, taken = _run(["-H", "db", "--password-file", str(file)])
    assert (code, taken[0].password) == (0, SECRET)
    assert _run(["-H", "db", "--password-file", str(file), "-P", "x"])[0] == 2
    file.write_bytes(b"\xff\xfe")
    assert _run(["-H", "db", "--password-file", str(file)])[0] == 30
    assert _run(["-H", "db", "--password-file", str(tmp_path / "none")])[0] == 30
    assert SECRET not in capsys.readouterr().err


def test_a_url_is_taken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    code, taken = _run(["--db", "postgresql://rag@h/crag"])
    assert (code, taken) == (0, [DatabaseSettings(url="postgresql://rag@h/crag")])
    assert _run(["--db", "postgresql://rag@h/crag", "-H", "h"])[0] == 2
