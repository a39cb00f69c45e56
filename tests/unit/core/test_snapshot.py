"""Snapshots are canonical and signed; anchors only go forward."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.errors import BadInput, IntegrityViolated
from crag_core.snapshot import Anchor, AnchorFile, Snapshot, SnapshotSigner, check, rollback

SNAPSHOT = Snapshot(
    collection="demo",
    salt="ab" * 32,
    sequence=7,
    epoch=1,
    rows=20,
    documents=3,
    root="0" * 63 + "1",
    previous="f" * 64,
    created="2026-11-21T05:00:00Z",
)
SIGNER = SnapshotSigner(bytes(range(32)))


def test_the_body_is_canonical_and_the_id_follows_from_it() -> None:
    body = SNAPSHOT.body()
    assert body == json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    assert json.loads(body)["format"] == "crag/snapshot/v1"
    assert Snapshot.parse(body) == SNAPSHOT
    assert SNAPSHOT.digest.startswith(SNAPSHOT.id)
    assert len(SNAPSHOT.id) == 16


def test_the_signature_is_the_published_one() -> None:
    """Fixed by the format: Ed25519 over the prefix, a zero byte and the body."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    signature = SIGNER.sign(SNAPSHOT)
    public.verify(signature, b"crag/snapshot/v1\x00" + SNAPSHOT.body().encode())
    assert SIGNER.check(SNAPSHOT.body(), signature) == SNAPSHOT


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 511))
def test_any_changed_bit_of_the_signature_is_refused(bit: int) -> None:
    signature = bytearray(SIGNER.sign(SNAPSHOT))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(IntegrityViolated):
        SIGNER.check(SNAPSHOT.body(), bytes(signature))


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_any_changed_character_of_the_body_is_refused(data: st.DataObject) -> None:
    body = SNAPSHOT.body()
    place = data.draw(st.integers(0, len(body) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda c: c != body[place]))
    changed = body[:place] + other + body[place + 1 :]
    with pytest.raises(IntegrityViolated):
        SIGNER.check(changed, SIGNER.sign(SNAPSHOT))


def test_another_key_does_not_sign_for_us() -> None:
    with pytest.raises(IntegrityViolated):
        SIGNER.check(SNAPSHOT.body(), SnapshotSigner(bytes(32)).sign(SNAPSHOT))
    with pytest.raises(IntegrityViolated):
        SIGNER.check(SNAPSHOT.body(), b"")
    assert "***" in repr(SIGNER)


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=200) | st.from_type(type(None)).map(str))
def test_no_text_makes_parsing_fail_otherwise_than_by_refusal(text: str) -> None:
    with pytest.raises(IntegrityViolated):
        Snapshot.parse(text)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("sequence", -1),
        ("sequence", 1.0),
        ("sequence", True),
        ("rows", "20"),
        ("root", "0" * 63),
        ("root", "G" * 64),
        ("previous", "x"),
        ("collection", None),
        ("format", "crag/snapshot/v2"),
        ("extra", 1),
    ],
)
def test_a_member_of_another_kind_is_refused_even_if_signed(member: str, value: object) -> None:
    fields = {**json.loads(SNAPSHOT.body()), member: value}
    with pytest.raises(IntegrityViolated):
        Snapshot.parse(json.dumps(fields, sort_keys=True, separators=(",", ":")))


def test_a_body_that_is_not_canonical_is_refused() -> None:
    body = SNAPSHOT.body()
    for other in (" " + body, body.replace(",", ", "), json.dumps(json.loads(body))):
        with pytest.raises(IntegrityViolated):
            Snapshot.parse(other)


def test_the_next_snapshot_counts_on_and_points_back() -> None:
    following = SNAPSHOT.next(rows=21, documents=4, root=bytes(32))
    assert following.sequence == 8
    assert following.previous == SNAPSHOT.digest
    assert (following.salt, following.epoch) == (SNAPSHOT.salt, SNAPSHOT.epoch)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"sequence": 8, "root": "a" * 64}, ""),
        ({"sequence": 6}, "older"),
        ({"root": "a" * 64}, "another root"),
        ({"epoch": 0, "sequence": 99}, "older"),
        ({"salt": "cd" * 32, "sequence": 99}, "replaced"),
        ({"collection": "other"}, "anchor is one of"),
    ],
)
def test_what_an_anchor_lets_through(change: dict[str, object], reason: str) -> None:
    anchor = Anchor.of(SNAPSHOT)
    found = replace(SNAPSHOT, **change)  # type: ignore[arg-type]
    assert reason in rollback(found, anchor)
    assert bool(rollback(found, anchor)) is bool(reason)
    if reason:
        with pytest.raises(IntegrityViolated, match="rolled back"):
            check(found, anchor)
    else:
        check(found, anchor)
    check(found, None)


def test_an_anchor_survives_its_json() -> None:
    anchor = Anchor.of(SNAPSHOT)
    assert Anchor.from_json(anchor.to_json()) == anchor
    assert Anchor.from_bytes(anchor.to_bytes()) == anchor


@settings(deadline=None, max_examples=60)
@given(st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps) | st.text())
def test_no_other_json_is_an_anchor(text: str) -> None:
    with pytest.raises(BadInput):
        Anchor.from_bytes(text.encode("utf-8", "surrogatepass"))


def test_the_file_of_an_anchor_only_goes_forward(tmp_path: Path) -> None:
    file = AnchorFile("demo", tmp_path / "anchors")
    assert file.load() is None
    assert file.advance(Anchor.of(SNAPSHOT))
    assert not file.advance(Anchor.of(SNAPSHOT))
    newer = Anchor.of(replace(SNAPSHOT, sequence=8))
    assert file.advance(newer)
    with pytest.raises(IntegrityViolated):
        file.advance(Anchor.of(SNAPSHOT))
    assert file.load() == newer
    assert file.path.stat().st_mode & 0o777 == 0o600
    file.replace(Anchor.of(SNAPSHOT))
    assert file.load() == Anchor.of(SNAPSHOT)


def test_a_damaged_anchor_file_is_refused_not_ignored(tmp_path: Path) -> None:
    file = AnchorFile("demo", tmp_path)
    file.path.write_text("{}")
    for attempt in (file.load, lambda: file.advance(Anchor.of(SNAPSHOT))):
        with pytest.raises(BadInput):
            attempt()


def test_threads_that_advance_at_once_leave_the_newest(tmp_path: Path) -> None:
    file = AnchorFile("demo", tmp_path)
    refused: list[Exception] = []

    def advance(sequence: int) -> None:
        try:
            file.advance(Anchor.of(replace(SNAPSHOT, sequence=sequence)))
        except IntegrityViolated as error:
            refused.append(error)

    threads = [threading.Thread(target=advance, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    newest = file.load()
    assert newest is not None
    assert newest.sequence == 19


def test_the_first_snapshot_of_the_next_epoch_continues_the_collection() -> None:
    first = Snapshot("c", "aa" * 32, 7, 1, 3, 2, "0" * 64, "", "2026-11-21T00:00:00Z")
    second = first.rotated(salt="bb" * 32, root=bytes(32))
    third = second.next(rows=4, documents=3, root=bytes(32)).rotated(salt="cc" * 32, root=bytes(32))
    assert (second.sequence, second.epoch, second.previous) == (8, 2, first.digest)
    assert second.origin == third.origin == first.salt
    assert "origin" not in first.body()
    assert "origin" not in Anchor.of(first).to_json()
    for made in (second, third):
        assert Snapshot.parse(made.body()) == made
        assert Anchor.from_bytes(Anchor.of(made).to_bytes()) == Anchor.of(made)
        assert rollback(made, Anchor.of(first)) == ""
        assert "older than" in rollback(first, Anchor.of(made))


def test_a_later_epoch_with_a_lower_sequence_is_a_rollback() -> None:
    first = Snapshot("c", "aa" * 32, 7, 1, 3, 2, "0" * 64, "", "2026-11-21T00:00:00Z")
    second = first.rotated(salt="bb" * 32, root=bytes(32))
    assert "older than" in rollback(replace(second, sequence=6), Anchor.of(first))
