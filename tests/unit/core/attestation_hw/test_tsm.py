"""Quotes through configfs-tsm, on a mounted file system that counts generations as Linux does."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crag_core.attestation.quote import parse_quote
from crag_core.attestation.tsm import TsmReports
from crag_core.errors import AttestationRejected, BadInput, CragError, NotSupported
from support.fake_tsm import FakeTsm
from support.fuse import mounting
from support.hardware import judge


@pytest.fixture
def tsm(tmp_path: Path) -> Iterator[tuple[FakeTsm, TsmReports]]:
    fake = FakeTsm()
    folder = tmp_path / "report"
    folder.mkdir()
    with fake.mount(folder):
        yield fake, TsmReports(folder, attempts=3, pause=0.0)


@mounting
def test_a_quote_holds_the_report_data_and_verifies(tsm: tuple[FakeTsm, TsmReports]) -> None:
    fake, reports = tsm
    quote = reports.quote(b"\x01" * 48)
    assert parse_quote(quote).report_data == b"\x01" * 48 + bytes(16)
    assert judge(quote).verdict == "affirming"
    assert fake.asked == [b"\x01" * 48 + bytes(16)]


@mounting
def test_every_quote_has_an_entry_of_its_own_that_is_removed(
    tsm: tuple[FakeTsm, TsmReports],
) -> None:
    fake, reports = tsm
    reports.quote(b"a")
    reports.quote(b"b")
    assert len(set(fake.made)) == 2 and fake.entries == []


@mounting
@pytest.mark.parametrize("busy", [errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT])
def test_a_busy_quoting_service_is_asked_again(tsm: tuple[FakeTsm, TsmReports], busy: int) -> None:
    fake, reports = tsm
    fake.failures = [busy, busy]
    assert parse_quote(reports.quote(b"a")).report_data == b"a" + bytes(63)
    assert fake.entries == []


@mounting
def test_a_service_that_stays_busy_is_named(tsm: tuple[FakeTsm, TsmReports]) -> None:
    fake, reports = tsm
    fake.failures = [errno.EBUSY] * 3
    with pytest.raises(CragError, match="3 attempts") as caught:
        reports.quote(b"a")
    assert caught.value.code == "quote-unavailable" and fake.entries == []


@mounting
def test_another_error_is_not_tried_again(tsm: tuple[FakeTsm, TsmReports]) -> None:
    fake, reports = tsm
    fake.failures = [errno.ENXIO]
    with pytest.raises(NotSupported):
        reports.quote(b"a")
    assert len(fake.made) == 1 and fake.entries == []


@mounting
def test_a_race_is_seen_by_the_generation_and_tried_again(
    tsm: tuple[FakeTsm, TsmReports],
) -> None:
    fake, reports = tsm
    rivals = [b"\xff" * 64]

    def race(write: Callable[[bytes], None]) -> None:
        if rivals:
            write(rivals.pop())

    fake.before_read = race
    assert parse_quote(reports.quote(b"mine")).report_data.startswith(b"mine")
    assert len(fake.made) == 2


@mounting
def test_a_rival_that_writes_the_same_data_is_a_race_too(tsm: tuple[FakeTsm, TsmReports]) -> None:
    fake, reports = tsm
    fake.before_read = lambda write: write(b"mine" + bytes(60))
    with pytest.raises(CragError, match="another process"):
        reports.quote(b"mine")
    assert fake.entries == []


@mounting
def test_a_provider_that_is_not_tdx_is_refused(tmp_path: Path) -> None:
    fake = FakeTsm("sev_guest")
    with fake.mount(tmp_path), pytest.raises(NotSupported, match="sev_guest"):
        TsmReports(tmp_path).quote(b"a")
    assert fake.entries == []


def test_a_machine_without_the_interface_is_told_so(tmp_path: Path) -> None:
    reports = TsmReports(tmp_path / "absent")
    assert not reports.available()
    with pytest.raises(NotSupported, match="absent"):
        reports.quote(b"a")


@pytest.mark.parametrize("size", [0, 65])
def test_report_data_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(BadInput):
        TsmReports(tmp_path).quote(bytes(size))


@mounting
def test_something_that_is_no_quote_is_refused(
    tsm: tuple[FakeTsm, TsmReports], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, reports = tsm
    monkeypatch.setattr("support.fake_tsm.intel", lambda: _Nonsense)
    with pytest.raises(AttestationRejected):
        reports.quote(b"a")
    assert fake.entries == []


class _Nonsense:
    @staticmethod
    def quote(report_data: bytes) -> bytes:
        return report_data * 100
