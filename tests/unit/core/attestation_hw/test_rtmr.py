"""crag's events in RTMR3: extended once a boot through the kernel, and told by the log sent."""

from __future__ import annotations

import base64
import errno
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.attestation.aael import Aael, events_of
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.ccel_write import appended, before
from crag_core.attestation.eventlog import LogEntry
from crag_core.attestation.evidence import MeasuringSource
from crag_core.attestation.own_events import OwnEvents
from crag_core.attestation.policy import EventPolicy, Policy, RequiredEvent
from crag_core.attestation.quote import parse_quote
from crag_core.attestation.rtmr import RuntimeRegister
from crag_core.attestation.tdx_evidence import TdxSource, verify_tdx_evidence
from crag_core.attestation.tsm import TsmReports
from crag_core.attestation.verdict import Verdict
from crag_core.errors import AttestationRejected, CragError, NotSupported
from support import logs, vectors
from support.fake_intel import NOW
from support.fake_kernel import BOOT, FakeKernel
from support.fuse import mounting
from support.hardware import anchors, failed, intel
from support.trustee import measurement

OWN = OwnEvents.of(measurement())
OTHER = OwnEvents.of(measurement("two"))
LINES = [f"crag {entry.name} sha256:{entry.content_digest.hex()}" for entry in OWN.entries]
DATA = b"\x05" * 48


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path_factory.mktemp("kernel") / "sys") as kernel:
        yield kernel


@pytest.fixture
def kernel(mounted: FakeKernel) -> FakeKernel:
    mounted.restart()
    return mounted


def register(kernel: FakeKernel) -> RuntimeRegister:
    return RuntimeRegister(kernel.rtmr3, sleep=lambda _seconds: None)


def source(kernel: FakeKernel, own: OwnEvents = OWN) -> TdxSource:
    return TdxSource(
        TsmReports(kernel.report, attempts=1),
        ccel=kernel.ccel,
        own=own,
        runtime=register(kernel),
    )


def judge(evidence: dict[str, Any], lines: list[str]) -> Verdict:
    wanted = tuple(RequiredEvent(*line.split(" ", 2)) for line in lines)
    policy = Policy(
        events=EventPolicy(required=True, contains=wanted, exclusive=frozenset({"crag"}))
    )
    return verify_tdx_evidence(
        evidence, DATA, intel().collateral(), NOW + 60, policy, anchors=anchors()
    )


def digests(own: OwnEvents = OWN) -> list[str]:
    return [digest.hex() for digest in own.digests]


@mounting
def test_the_events_are_extended_in_order_and_only_once(kernel: FakeKernel) -> None:
    assert register(kernel).available()
    assert register(kernel).measure(OWN) == 3
    assert kernel.seen()["extended"] == digests()
    assert register(kernel).measure(OWN) == 0
    assert kernel.seen()["extended"] == digests()
    assert register(kernel).read() == OWN.register(3)


@mounting
def test_a_measurement_that_was_cut_short_is_continued(kernel: FakeKernel) -> None:
    kernel.extend(OWN.entries[0].data())
    assert register(kernel).measure(OWN) == 2
    assert kernel.seen()["extended"] == digests()


@mounting
@pytest.mark.parametrize("refusal", [errno.EBUSY, errno.EIO, -errno.EIO, -errno.EBUSY])
def test_a_write_that_fails_is_judged_by_the_register_alone(
    kernel: FakeKernel, refusal: int
) -> None:
    kernel.set(refusals=[0, refusal, 0])
    assert register(kernel).measure(OWN) == 3
    assert kernel.seen()["extended"] == digests()


@mounting
def test_a_register_that_stays_busy_is_named(kernel: FakeKernel) -> None:
    kernel.set(refusals=[errno.EBUSY] * 3)
    with pytest.raises(CragError, match="rtmr3:sha384") as caught:
        register(kernel).measure(OWN)
    assert caught.value.code == "register-busy" and kernel.seen()["extended"] == []


@mounting
def test_a_register_that_may_not_be_extended_is_not_tried_again(kernel: FakeKernel) -> None:
    kernel.set(refusals=[errno.EPERM, 0, 0])
    with pytest.raises(NotSupported, match="rtmr3:sha384"):
        register(kernel).measure(OWN)
    assert kernel.seen()["extended"] == []


@mounting
@pytest.mark.parametrize("foreign", [OTHER.entries[0].data(), b"another program"])
def test_a_register_that_holds_something_else_is_left_alone(
    kernel: FakeKernel, foreign: bytes
) -> None:
    kernel.extend(foreign)
    with pytest.raises(AttestationRejected, match="turned back") as caught:
        register(kernel).measure(OWN)
    assert caught.value.code == "register-foreign"
    assert len(kernel.seen()["extended"]) == 1
    with pytest.raises(AttestationRejected):
        source(kernel).evidence(DATA)


@mounting
def test_an_event_of_others_behind_ours_is_noticed(kernel: FakeKernel) -> None:
    register(kernel).measure(OWN)
    kernel.extend(b"late")
    with pytest.raises(AttestationRejected):
        source(kernel).evidence(DATA)


@mounting
def test_services_that_start_at_once_extend_once(kernel: FakeKernel) -> None:
    made: list[int] = []
    threads = [
        threading.Thread(target=lambda: made.append(RuntimeRegister(kernel.rtmr3).measure(OWN)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(made) == [0, 0, 0, 3]
    assert kernel.seen()["extended"] == digests()


@mounting
def test_the_log_tells_exactly_what_the_register_holds(kernel: FakeKernel) -> None:
    made: MeasuringSource = source(kernel)
    assert judge(made.evidence(DATA), []).verdict == "affirming"
    kernel.extend(OWN.entries[0].data())
    assert judge(made.evidence(DATA), LINES[:1]).verdict == "affirming"
    assert made.measure() == 2
    evidence = made.evidence(DATA)
    assert judge(evidence, LINES).verdict == "affirming"
    assert made.register == kernel.seen()["rtmrs"][3]
    assert failed(judge(evidence, LINES[:2])) == ["events of crag"]
    table = parse_ccel(base64.b64decode(evidence["cc_eventlog"]))
    assert [event.line() for event in events_of(table)] == LINES


@mounting
def test_a_text_log_for_old_trustees_stands_beside_the_firmwares(kernel: FakeKernel) -> None:
    own = OwnEvents(OWN.entries, text=True)
    made = source(kernel, own)
    assert "aa_eventlog" not in made.evidence(DATA)
    kernel.set(refusals=[0, -errno.EIO])
    assert made.measure() == 4 and made.measure() == 0
    evidence = made.evidence(DATA)
    assert judge(evidence, LINES).verdict == "affirming"
    assert evidence["aa_eventlog"].encode().rstrip(b"\n") == logs.text_log(LINES)[0]
    assert made.register == kernel.seen()["rtmrs"][3]
    assert parse_ccel(base64.b64decode(evidence["cc_eventlog"])).replay()[4] == bytes(48)


@mounting
def test_each_step_of_a_text_log_replays(kernel: FakeKernel) -> None:
    own = OwnEvents(OWN.entries, text=True)
    kernel.extend(logs.ZERO_INIT.encode())
    for line in LINES:
        kernel.extend(line.encode())
        shown = source(kernel, own).evidence(DATA)
        assert shown["aa_eventlog"].endswith(f"{line}\n")
        assert judge(shown, LINES[: LINES.index(line) + 1]).verdict == "affirming"


@mounting
def test_a_firmware_log_that_does_not_replay_gives_no_evidence(
    kernel: FakeKernel, tmp_path: Path
) -> None:
    (tmp_path / "CCEL").write_bytes(logs.ccel(BOOT[:2]))
    made = TdxSource(TsmReports(kernel.report), ccel=tmp_path / "CCEL", own=OWN)
    with pytest.raises(AttestationRejected, match="RTMR2"):
        made.evidence(DATA)
    made = TdxSource(TsmReports(kernel.report), ccel=tmp_path / "absent", own=OWN)
    with pytest.raises(AttestationRejected, match="RTMR0"):
        made.evidence(DATA)


def test_a_text_log_is_not_begun_behind_what_the_firmware_extended(tmp_path: Path) -> None:
    (tmp_path / "CCEL").write_bytes(logs.ccel([*BOOT, logs.event(4, logs.IPL, b"initrd")]))
    (tmp_path / "rtmr3").write_bytes(bytes(48))
    made = TdxSource(
        TsmReports(tmp_path),
        ccel=tmp_path / "CCEL",
        own=OwnEvents(OWN.entries, text=True),
        runtime=RuntimeRegister(tmp_path / "rtmr3"),
    )
    with pytest.raises(NotSupported, match="extends RTMR3") as refused:
        made.measure()
    assert "--event-log ccel" in refused.value.hint
    assert (tmp_path / "rtmr3").read_bytes() == bytes(48)


def test_a_kernel_without_the_interface_is_told_so(tmp_path: Path) -> None:
    absent = RuntimeRegister(tmp_path / "rtmr3:sha384")
    assert not absent.available()
    with pytest.raises(NotSupported, match="rtmr3") as caught:
        absent.measure(OWN)
    assert "6.16" in caught.value.hint
    (tmp_path / "rtmr3:sha384").write_bytes(b"short")
    with pytest.raises(NotSupported, match="48"):
        absent.measure(OWN)


def test_what_the_firmware_extended_comes_before_ours() -> None:
    boot = [*BOOT, logs.event(4, logs.IPL, b"initrd"), logs.event(4, logs.NO_ACTION, b"nothing")]
    told = before(logs.ccel(boot))
    made = appended(logs.ccel(boot, end=b"\xff" * 64), OWN.entries)
    assert len(told) == 1
    assert parse_ccel(made).replay()[4] == OWN.register(3, told)
    assert OWN.held_by_register(OWN.register(2, told), told) == 2
    assert made == logs.ccel([*boot, *(logs.aael(line) for line in LINES)])


def test_a_machine_without_a_firmware_log_gets_one_of_ours() -> None:
    assert appended(None, OWN.entries) == logs.ccel([logs.aael(line) for line in LINES])
    assert before(None) == ()


def test_every_hash_of_the_header_gets_its_digest() -> None:
    log = parse_ccel(appended(_two_hashes(), OWN.entries))
    assert log.algorithms == ("SHA-256", "SHA-384")
    assert all(event.proves_data for event in log.events) and len(log.events) == 3


def _two_hashes() -> bytes:
    import struct

    spec = b"Spec ID Event03\0" + bytes([0, 0, 0, 0, 0, 2, 0, 2])
    spec += struct.pack("<IHHHHB", 2, 0x000B, 32, 0x000C, 48, 0)
    return struct.pack("<II20sI", 1, logs.NO_ACTION, bytes(20), len(spec)) + spec


@given(
    st.lists(st.binary(max_size=64), max_size=4),
    st.integers(0, 3),
    st.lists(st.binary(min_size=32, max_size=32), min_size=3, max_size=3, unique=True),
)
def test_any_log_is_continued_so_that_it_replays(
    firmware: list[bytes], count: int, contents: list[bytes]
) -> None:
    own = OwnEvents([LogEntry(f"n{i}", content) for i, content in enumerate(contents)])
    log = logs.ccel([logs.event(4, logs.IPL, data) for data in firmware])
    made = parse_ccel(appended(log, own.entries[:count]))
    assert own.held_by_register(made.replay()[4], before(log)) == count
    assert own.held_by_log(events_of(made)) == count


def test_a_log_with_other_events_of_crags_is_foreign() -> None:
    def told(*lines: str) -> list[Aael]:
        return [Aael(*line.split(" ", 2)) for line in lines]

    assert OWN.held_by_log(told("image pull sha256:00", LINES[0])) == 1
    for bad in ([LINES[1]], [LINES[0], LINES[0]], [*LINES, "crag extra sha256:00"]):
        with pytest.raises(AttestationRejected, match="another crag-provider"):
            OWN.held_by_log(told(*bad))


@vectors.needed
def test_a_recorded_firmware_log_is_continued() -> None:
    log = vectors.data("eventlog/gcp_cos113_ccel.bin")
    quote = parse_quote(vectors.data("tdx/gcp_cos113_quote.dat"))
    assert OWN.held_by_register(quote.rtmr(3), before(log)) == 0
    made = parse_ccel(appended(log, OWN.entries))
    replayed = made.replay()
    assert [replayed[index + 1] for index in range(3)] == [quote.rtmr(i) for i in range(3)]
    assert replayed[4] == OWN.register(3)


@vectors.needed
def test_a_recorded_agents_log_is_told_from_ours() -> None:
    log = vectors.data("eventlog/CCEL_AAEL_alibabacloud")
    events = events_of(parse_ccel(log))
    assert events and OWN.held_by_log(events) == 0
    made = parse_ccel(appended(log, OWN.entries))
    assert OWN.held_by_log(events_of(made)) == 3
    assert made.replay()[4] == OWN.register(3, before(log))
