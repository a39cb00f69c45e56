"""Key files and where a command takes its key from."""

from __future__ import annotations

import re
import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput, UsageError
from crag_core.keys import MasterKey
from crag_owner import keyfile
from crag_owner.keyfile import KeySource


def test_a_made_key_is_private_random_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k"
    made = keyfile.create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(made.raw) == 32
    assert keyfile.load(str(path)).raw == made.raw
    assert not made.weak
    assert made.raw != keyfile.create(tmp_path / "other").raw
    assert [entry.name for entry in path.parent.iterdir()] == ["k"]


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "k"
    first = keyfile.create(path)
    with pytest.raises(BadInput, match="already"):
        keyfile.create(path)
    assert keyfile.load(str(path)).raw == first.raw
    assert [entry.name for entry in tmp_path.iterdir() if "k" in entry.name] == ["k"]


def test_of_two_first_runs_at_once_one_makes_the_key(tmp_path: Path) -> None:
    path, made, refused = tmp_path / "k", [], []
    barrier = threading.Barrier(6)

    def run(number: int) -> None:
        barrier.wait(10)
        try:
            made.append(keyfile.create(path))
        except BadInput:
            refused.append(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (len(made), len(refused)) == (1, 5)
    assert keyfile.load(str(path)).raw == made[0].raw


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_every_key_survives_its_file(raw: bytes) -> None:
    line = keyfile.encode(MasterKey.from_bytes(raw))
    assert keyfile.decode(line.removesuffix(b"\n"), "k").raw == raw


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=1, max_size=60).filter(lambda raw: not raw.startswith(keyfile.PREFIX)))
def test_other_content_is_the_key_itself(raw: bytes) -> None:
    assert keyfile.decode(raw, "k").raw == raw


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=60))
def test_a_damaged_file_is_refused_without_showing_it(tail: bytes) -> None:
    whole = re.fullmatch(rb"\s*[A-Za-z0-9_-]{43}=?\s*", tail)
    if whole:
        assert len(keyfile.decode(keyfile.PREFIX + tail, "here").raw) == 32
    else:
        with pytest.raises(BadInput, match=r"^The key file here is damaged\.$"):
            keyfile.decode(keyfile.PREFIX + tail, "here")


def test_a_literal_key_is_its_utf8_bytes() -> None:
    assert KeySource("test-masterkey-12345").load().raw == b"test-masterkey-12345"
    assert "12345" not in repr(KeySource("test-masterkey-12345"))


def test_two_keys_are_refused_and_a_missing_one_is_named() -> None:
    with pytest.raises(UsageError, match="twice"):
        KeySource("a", "b")
    source = KeySource()
    assert not source.exists
    with pytest.raises(BadInput, match=r"no key yet: .*master\.key does not exist"):
        source.load()
    with pytest.raises(BadInput, match="cannot be read"):
        KeySource(path="/nowhere/k").load()


def test_a_key_file_that_others_can_read_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "k"
    keyfile.create(path)
    assert not keyfile.readable_by_others(path)
    path.chmod(0o640)
    assert keyfile.readable_by_others(path)
