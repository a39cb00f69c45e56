"""cai.env is parsed as a shell would read it, and never run."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.errors import BadInput
from crag_provider import envfile


def test_the_forms_of_a_shell_assignment_are_read() -> None:
    text = """
# the provider's Trustee
export TRUSTEE_URL=http://10.0.0.1:8081/api   # its gateway
MODEL_KEY_ID="kbs:///default/crag/model-key"
MODEL_OSS_SECRET_ACCESS_KEY='a$b`c "d" #e'
QUOTED="say \\"hi\\" for \\$5"
HASH=a#b
EMPTY=
"""
    assert envfile.parse(text, "cai.env") == {
        "TRUSTEE_URL": "http://10.0.0.1:8081/api",
        "MODEL_KEY_ID": "kbs:///default/crag/model-key",
        "MODEL_OSS_SECRET_ACCESS_KEY": 'a$b`c "d" #e',
        "QUOTED": 'say "hi" for $5',
        "HASH": "a#b",
        "EMPTY": "",
    }


@pytest.mark.parametrize(
    "line",
    [
        "A=$(id)",
        'A="$(id)"',
        "A=`id`",
        'A="$HOME"',
        "A=$HOME",
        "A=a b",
        'A="x',
        "A='x",
        "A=x\\",
        "A = x",
        "1A=x",
        "unset A",
        "A=x;id\nB",
        "A",
    ],
)
def test_what_a_shell_would_compute_or_refuse_is_refused_by_line(line: str) -> None:
    with pytest.raises(BadInput, match=r"Line [23] of cai\.env") as refused:
        envfile.parse(f"OK=1\n{line}\n", "cai.env")
    assert refused.value.exit_code == 30


def test_a_refusal_never_shows_the_value() -> None:
    with pytest.raises(BadInput) as refused:
        envfile.parse("MODEL_OSS_SECRET_ACCESS_KEY=hunter2 hunter3\n", "cai.env")
    assert "hunter" not in refused.value.diagnostics()


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=40))
def test_any_value_that_a_shell_quotes_comes_back(value: str) -> None:
    assert envfile.parse(f"NAME={shlex.quote(value)}", "x") == {"NAME": value}


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert all(isinstance(value, str) for value in envfile.parse(text, "x").values())


def test_the_file_fills_in_only_what_the_environment_does_not_say() -> None:
    environment = {"CRAG_PROVIDER_TRUSTEE_URL": "http://set", "CRAG_MODEL_KEY_ID": "shared"}
    found = {
        "TRUSTEE_URL": "http://file",
        "MODEL_KEY_ID": "file",
        "ALT_KEY_ID": "file",
        "CRAG_DB_HOST": "db",
        "LD_PRELOAD": "evil.so",
    }
    assert envfile.apply(found, environment) == ["LD_PRELOAD"]
    assert environment == {
        "CRAG_PROVIDER_TRUSTEE_URL": "http://set",
        "CRAG_MODEL_KEY_ID": "shared",
        "CRAG_PROVIDER_ALT_KEY_ID": "file",
        "CRAG_DB_HOST": "db",
    }


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cai.env"
    for raw in (b"A=\xff\n", b"A=\0\n"):
        path.write_bytes(raw)
        with pytest.raises(BadInput):
            envfile.load(path)
    with pytest.raises(BadInput, match="cannot be read"):
        envfile.load(tmp_path / "none")
