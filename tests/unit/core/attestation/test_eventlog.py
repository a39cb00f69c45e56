from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.attestation import eventlog
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.eventlog import LogEntry
from crag_core.errors import AttestationRejected, BadInput

VECTORS = Path(__file__).resolve().parents[4].parent / "shared" / "vectors" / "eventlog"

NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
ENTRIES = st.lists(
    st.builds(LogEntry, NAMES, st.binary(min_size=32, max_size=32)), min_size=0, max_size=5
)
LOG = eventlog.write([LogEntry("software", bytes(32)), LogEntry("model", b"\x01" * 32)])


@given(ENTRIES)
def test_a_log_reads_back(entries: list[LogEntry]) -> None:
    assert eventlog.read(eventlog.write(entries)) == entries


@given(ENTRIES)
def test_a_log_replays_to_the_fold_of_its_digests(entries: list[LogEntry]) -> None:
    register = bytes(32)
    for entry in entries:
        line = f"crag {entry.name} sha256:{entry.content_digest.hex()}".encode()
        data = b"LEAA" + struct.pack("<I", len(line)) + line
        register = hashlib.sha256(register + hashlib.sha256(data).digest()).digest()
    assert eventlog.replay(eventlog.write(entries)) == register


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(LOG) - 1), st.integers(1, 255))
def test_no_byte_of_a_log_can_change(position: int, difference: int) -> None:
    changed = bytearray(LOG)
    changed[position] ^= difference
    try:
        entries = eventlog.read(bytes(changed))
    except AttestationRejected:
        return
    pytest.fail(f"a log changed at {position} was read as {entries}")


@given(st.integers(0, len(LOG) - 1))
def test_a_log_that_is_cut_short_is_refused(length: int) -> None:
    with pytest.raises(AttestationRejected):
        eventlog.read(LOG[:length])


@given(st.binary(min_size=1, max_size=64))
def test_nothing_may_stand_behind_the_end(extra: bytes) -> None:
    with pytest.raises(AttestationRejected):
        eventlog.read(LOG + extra)


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(AttestationRejected):
        eventlog.read(raw)


def test_a_log_of_other_text_that_replays_well_is_refused() -> None:
    line = b"crag software sha256:" + b"0" * 64
    other = b"crag  software sha256:" + b"0" * 63
    assert len(line) == len(other)
    log = eventlog.write([LogEntry("software", bytes(32))])
    data = log[log.index(b"LEAA") : -8]
    forged = log.replace(hashlib.sha256(data).digest(), b"D" * 32).replace(line, other)
    forged = forged.replace(b"D" * 32, hashlib.sha256(data.replace(line, other)).digest())
    assert parse_ccel(forged).events[0].proves_data
    with pytest.raises(AttestationRejected, match="not of the form"):
        eventlog.read(forged)


@pytest.mark.parametrize(
    ("name", "digest"), [("Upper", bytes(32)), ("a b", bytes(32)), ("", bytes(32)), ("a", b"x")]
)
def test_what_a_log_cannot_carry_is_refused_when_written(name: str, digest: bytes) -> None:
    with pytest.raises(BadInput):
        eventlog.write([LogEntry(name, digest)])


def test_tagged_events_have_the_form_of_a_real_log() -> None:
    path = VECTORS / "CCEL_AAEL_alibabacloud"
    if not path.is_file():
        pytest.skip(f"recorded event logs are absent ({path.parent})")
    real = path.read_bytes()
    tagged = [event for event in parse_ccel(real).events if event.type_name == "EV_EVENT_TAG"]
    assert len(tagged) == 2
    for event in tagged:
        line = event.data[8:]
        assert event.data == struct.pack("<II", 0x4141454C, len(line)) + line
        assert event.digests["SHA-384"] == hashlib.sha384(event.data).digest()
    # The headers differ in nothing but the hash that they name.
    assert LOG[:60] == real[:60]
