"""The parsers of hardware evidence: what they read; nothing but typed errors leaves them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from crag_core.attestation.aael import is_text, parse_text
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.claims import event_claims
from crag_core.attestation.gpu_evidence import load_gpu_evidence
from crag_core.attestation.nvidia import certified_fwid
from crag_core.attestation.quote import parse_quote
from crag_core.attestation.rim import verify_rim
from crag_core.attestation.spdm import parse_report
from crag_core.attestation.x509chain import load_chain, verify_chain
from crag_core.errors import AttestationRejected, CragError
from support import logs
from support.fake_intel import NOW
from support.fake_nvidia import pem, point
from support.hardware import anchors, intel, judge, nvidia

NONCE = bytes(range(32))


def chain_of(data: bytes) -> None:
    verify_chain(load_chain(data, "chain"), point(nvidia().root_key), NOW, "chain")


def certificate_of(der: bytes) -> None:
    """A leaf of these bytes, in front of a good chain."""
    body = base64.encodebytes(der)
    leaf = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    chain = load_chain(leaf + pem(nvidia().ica, nvidia().root), "chain")
    verify_chain(chain, point(nvidia().root_key), NOW, "chain")
    certified_fwid(chain[0])


def ccel(data: bytes) -> None:
    log = parse_ccel(data)
    log.replay()
    event_claims(log)


def rim(data: bytes) -> None:
    verify_rim(data, anchors().nvidia_rim, NOW)


EVENTS = [
    logs.event(1, 0x80000001, bytes(16) + bytes([2] + [0] * 7 + [1] + [0] * 7) + b"P\0K\0x"),
    logs.event(2, 0x80000003, bytes(24) + bytes([8] + [0] * 7) + bytes([4, 4, 8, 0, 65, 0, 0, 0])),
    logs.event(1, 0x8000000B, b"\x03abcdef"),
    logs.aael('a b {"c": 1}'),
]
SEEDS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "quote 4": (parse_quote, intel().quote()),
    "quote 5": (parse_quote, intel().quote(version=5)),
    "ccel": (ccel, logs.ccel(EVENTS)),
    "aael": (parse_text, logs.text_log(["a b c", "d e f g"])[0]),
    "spdm": (parse_report, nvidia().report(NONCE)),
    "chain": (chain_of, nvidia().chain),
    "certificate": (certificate_of, nvidia().leaf.public_bytes(Encoding.DER)),
    "rim": (rim, nvidia().rim().encode()),
    "gpu json": (
        lambda data: load_gpu_evidence(data, None),
        b'{"evidence_list":[{"attestation_report":"EeA=","certificate":"AAAA","cc_enabled":true}]}',
    ),
}


@pytest.mark.parametrize("name", SEEDS)
def test_the_seed_itself_is_read(name: str) -> None:
    read, seed = SEEDS[name]
    read(seed)


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=120, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=6)), max_size=4),
    cut=st.integers(0, 1 << 16),
    tail=st.binary(max_size=12),
)
def test_mutated_evidence_raises_nothing_but_typed_errors(
    name: str, changes: list[tuple[int, bytes]], cut: int, tail: bytes
) -> None:
    read, seed = SEEDS[name]
    data = bytearray(seed)
    for place, new in changes:
        at = place % len(data)
        data[at : at + len(new)] = new
    if cut % 3 == 0:
        del data[cut % (len(data) + 1) :]
    with contextlib.suppress(CragError):
        read(bytes(data) + tail)


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_typed_errors(name: str, data: bytes) -> None:
    with contextlib.suppress(CragError):
        SEEDS[name][0](data)


@settings(max_examples=40, deadline=None)
@given(place=st.integers(0, len(intel().quote()) - 1), new=st.binary(min_size=1, max_size=4))
def test_a_mutated_quote_gives_a_verdict_and_no_exception(place: int, new: bytes) -> None:
    good = intel().quote()
    changed = good[:place] + new + good[place + len(new) :]
    assert (judge(changed).verdict == "affirming") == (changed.rstrip(b"\0") == good.rstrip(b"\0"))


@settings(max_examples=40, deadline=None)
@given(
    key=st.sampled_from(sorted(intel().collateral())),
    place=st.integers(0, 10_000),
    new=st.text(min_size=1, max_size=3),
)
def test_mutated_collateral_gives_a_verdict_or_a_typed_error(
    key: str, place: int, new: str
) -> None:
    collateral = intel().collateral()
    at = place % len(collateral[key])
    collateral[key] = collateral[key][:at] + new + collateral[key][at + len(new) :]
    with contextlib.suppress(CragError):
        judge(collateral=collateral)


def test_a_quote_is_read_field_by_field() -> None:
    found = parse_quote(intel().quote(report_data=NONCE, mr_td=b"\x33" * 48, version=5))
    assert found.version == 5 and found.fields["mr_td"] == b"\x33" * 48
    assert found.report_data == NONCE + bytes(32)
    assert len(found.fields["mr_service_td"]) == 48 and len(found.chain) == 3


def test_a_report_is_read_field_by_field() -> None:
    found = parse_report(nvidia().report(NONCE))
    assert found.nonce == NONCE and found.driver == "580.95.05"
    assert found.vbios == "96.00.74.00.1A"
    assert found.board == {"chip_sku": "882", "project": "1010", "project_sku": "0200"}
    assert sorted(found.measurements) == list(range(1, 65))


def test_a_log_with_two_hashes_is_replayed_with_either() -> None:
    data = b"x"
    header = logs.header().replace(
        bytes.fromhex("010000000c003000"), bytes.fromhex("020000000b0020000c003000")
    )
    size = len(header) - 32
    header = header[:28] + size.to_bytes(4, "little") + header[32:]
    event = (
        bytes([1, 0, 0, 0, 13, 0, 0, 0, 2, 0, 0, 0])
        + b"\x0b\0" + hashlib.sha256(data).digest()
        + b"\x0c\0" + hashlib.sha384(data).digest()
        + b"\x01\0\0\0" + data
    )  # fmt: skip
    log = parse_ccel(header + event)
    assert log.algorithms == ("SHA-256", "SHA-384")
    assert (
        log.replay("SHA-256")[1]
        == hashlib.sha256(bytes(32) + hashlib.sha256(data).digest()).digest()
    )
    assert log.replay()[1] == hashlib.sha384(bytes(48) + hashlib.sha384(data).digest()).digest()


@pytest.mark.parametrize("algorithm", ["00000000", "0c002000", "12002000"])
def test_a_header_that_names_an_unknown_hash_is_refused(algorithm: str) -> None:
    """Found by fuzzing: hash 0 with no bytes passed for a known one."""
    header = logs.header().replace(bytes.fromhex("0c003000"), bytes.fromhex(algorithm))
    with pytest.raises(AttestationRejected, match="hash"):
        parse_ccel(header + logs.ccel(EVENTS)[len(header) :])


def test_a_certificate_with_an_extension_twice_is_refused() -> None:
    twice = nvidia().ica.public_bytes(Encoding.DER).replace(b"\x55\x1d\x0f", b"\x55\x1d\x13")
    with pytest.raises(AttestationRejected, match="cannot be read"):
        certificate_of(twice)


def test_a_text_log_keeps_blanks_in_its_content() -> None:
    log, register = logs.text_log(["a b c d  e"])
    events, replayed = parse_text(log + b"\n")
    assert is_text(log) and replayed == register
    assert events[0].content == "c d  e"


@pytest.mark.parametrize("line", ["", "a", "a b", " b c", "a  c"])
def test_a_line_without_three_parts_is_refused(line: str) -> None:
    log, _ = logs.text_log([line, "x y z"])
    with pytest.raises(AttestationRejected):
        parse_text(log)


def test_text_that_is_not_utf8_is_refused() -> None:
    log, _ = logs.text_log([])
    with pytest.raises(AttestationRejected):
        parse_text(log + b"\n\xff b c")
