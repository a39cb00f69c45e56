"""Keys from elsewhere, and keys from passphrases by Argon2id."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput
from crag_core.keys import MasterKey
from crag_owner import keyfile
from crag_owner.key_derivation import Recipe, recipe_path
from support.owner import Owner

PHRASE = "correct horse battery staple and two more"
FIXED = Recipe("00" * 16)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path / "home", tmp_path)


def test_argon2id_is_that_of_the_rfc() -> None:
    """The test vector of RFC 9106, section 5.3."""
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    made = Argon2id(
        salt=b"\x02" * 16,
        length=32,
        iterations=3,
        lanes=4,
        memory_cost=32,
        ad=b"\x04" * 12,
        secret=b"\x03" * 8,
    ).derive(b"\x01" * 32)
    assert made.hex() == "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659"


def test_the_parameters_are_at_least_the_second_recommendation() -> None:
    made = Recipe.fresh()
    assert (made.iterations, made.lanes, made.memory_kib) == (3, 4, 65536)
    assert len(bytes.fromhex(made.salt)) == 16
    assert made.salt != Recipe.fresh().salt


def test_the_same_passphrase_and_record_make_the_same_key() -> None:
    key = FIXED.derive(PHRASE)
    assert len(key.raw) == 32
    assert FIXED.derive(PHRASE).raw == key.raw
    assert FIXED.derive(PHRASE + " ").raw != key.raw
    assert replace(FIXED, salt="01" * 16).derive(PHRASE).raw != key.raw
    # The two ways to write an accent are one passphrase.
    assert FIXED.derive("caf\u00e9 au lait").raw == FIXED.derive("cafe\u0301 au lait").raw


def test_the_record_says_whether_the_passphrase_was_right() -> None:
    sure = replace(FIXED, check_value=FIXED.derive(PHRASE).check_value())
    assert Recipe.from_bytes(sure.to_bytes(), "r") == sure
    with pytest.raises(BadInput, match="not the passphrase"):
        sure.derive("another passphrase altogether")
    with pytest.raises(BadInput, match="empty"):
        FIXED.derive("")


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("memory_kib", 1024),
        ("iterations", 1),
        ("lanes", 1),
        ("salt", "00"),
        ("memory_kib", 2**40),
        ("iterations", True),
        ("version", 16),
        ("kdf", "argon2i"),
        ("salt", "zz"),
        ("check_value", 7),
        ("more", 1),
    ],
)
def test_a_weakened_or_broken_record_is_refused(member: str, value: object) -> None:
    record = json.loads(FIXED.to_bytes()) | {member: value}
    with pytest.raises(BadInput):
        Recipe.from_bytes(json.dumps(record).encode(), "record")


@given(raw=st.binary(max_size=200))
@settings(deadline=None, max_examples=60)
def test_any_bytes_are_no_record_or_one(raw: bytes) -> None:
    with pytest.raises(BadInput):
        Recipe.from_bytes(raw, "record")


@given(raw=st.binary(min_size=1, max_size=80))
@settings(deadline=None, max_examples=60)
def test_any_key_survives_its_file(raw: bytes) -> None:
    key = MasterKey.from_bytes(raw)
    content = keyfile.encode(key).removesuffix(b"\n").removesuffix(b"\r")
    if len(raw) != 32 and raw.startswith(keyfile.PREFIX):
        return
    assert keyfile.decode(content, "file").raw == raw


def test_a_raw_key_keeps_every_byte(owner: Owner) -> None:
    raw = bytes(range(31)) + b"\n"
    (owner.work / "raw").write_bytes(raw)
    done = owner.ok("key", "import", "raw")
    path = owner.home / "keys" / "master.key"
    assert done["path"] == str(path)
    assert keyfile.load(str(path)).raw == raw
    assert done["check_value"] == MasterKey.from_bytes(raw).check_value()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert done["record"] is None
    again = owner.run("key", "import", "raw", "--json")
    assert again.code == 30
    assert "already" in again.error["message"]


def test_a_key_of_another_length_and_from_standard_input(owner: Owner) -> None:
    done = owner.run("key", "import", "-", "--out", "k", "--json", stdin=b"test-masterkey-12345\n")
    assert done.json["weak"]
    assert "guessed" in done.err
    assert keyfile.load(str(owner.work / "k")).raw == b"test-masterkey-12345"


def test_a_passphrase_makes_a_key_that_can_be_made_again(owner: Owner) -> None:
    stdin = (PHRASE + "\n").encode()
    done = owner.run("key", "import", "--passphrase-file", "-", "--out", "a", "--json", stdin=stdin)
    assert done.code == 0, done
    assert PHRASE not in done.out + done.err
    record = recipe_path(owner.work / "a")
    assert done.json["record"] == str(record.relative_to(owner.work))
    kept = json.loads(record.read_bytes())
    assert kept["check_value"] == done.json["check_value"]
    assert (kept["kdf"], kept["iterations"], kept["memory_kib"]) == ("argon2id", 3, 65536)
    key = keyfile.load(str(owner.work / "a")).raw
    assert key not in record.read_bytes()
    words = ("key", "import", "--passphrase-file", "-", "--record", str(record), "--out", "b")
    assert owner.run(*words, "--json", stdin=stdin).code == 0
    assert keyfile.load(str(owner.work / "b")).raw == key
    wrong = owner.run(*words[:-1], "c", "--json", stdin=b"a wrong passphrase of some length\n")
    assert (wrong.code, wrong.error["code"]) == (30, "wrong-passphrase")
    assert not (owner.work / "c").exists()


def test_a_short_passphrase_is_warned_about(owner: Owner) -> None:
    done = owner.run("key", "import", "--passphrase-file", "-", "--json", stdin=b"secret\n")
    assert done.code == 0
    assert "can be guessed" in done.err


@pytest.mark.parametrize(
    "words",
    [(), ("raw", "--passphrase"), ("raw", "--record", "r"), ("--record", "r")],
)
def test_one_source_of_the_key_is_needed(owner: Owner, words: tuple[str, ...]) -> None:
    (owner.work / "raw").write_bytes(b"k" * 32)
    done = owner.run("key", "import", *words, "--json")
    assert (done.code, done.error["code"]) == (2, "usage")


def test_nothing_is_left_of_a_failed_import(owner: Owner) -> None:
    done = owner.run("key", "import", "missing", "--json")
    assert done.code == 30
    assert not (owner.home / "keys").exists()
    (owner.work / "empty").write_bytes(b"")
    assert owner.run("key", "import", "empty", "--json").code == 30
