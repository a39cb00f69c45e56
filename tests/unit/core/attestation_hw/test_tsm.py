"""Quotes through configfs-tsm, on a mounted file system that counts generations as Linux does."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.attestation.quote import parse_quote
from crag_core.attestation.tsm import TsmReports
from crag_core.errors import AttestationRejected, BadInput, CragError, NotSupported
from support.fake_kernel import FakeKernel
from support.fuse import mounting
from support.hardware import judge


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path_factory.mktemp("kernel") / "sys") as kernel:
        yield kernel


@pytest.fixture
def kernel(mounted: FakeKernel) -> FakeKernel:
    mounted.restart()
    return mounted


@pytest.fixture
def reports(kernel: FakeKernel) -> TsmReports:
    return TsmReports(kernel.report, attempts=3, pause=0.0)


@mounting
def test_a_quote_holds_the_report_data_and_verifies(
    kernel: FakeKernel, reports: TsmReports
) -> None:
    assert reports.available() and reports.provider() == "tdx_guest"
    quote = reports.quote(b"\x01" * 48)
    assert parse_quote(quote).report_data == b"\x01" * 48 + bytes(16)
    assert judge(quote).verdict == "affirming"
    assert kernel.seen()["asked"] == [(b"\x01" * 48 + bytes(16)).hex()]


@mounting
def test_every_quote_has_an_entry_of_its_own_that_is_removed(
    kernel: FakeKernel, reports: TsmReports
) -> None:
    reports.quote(b"a")
    reports.quote(b"b")
    assert len(set(kernel.seen()["made"])) == 2 and kernel.seen()["entries"] == []


@mounting
@pytest.mark.parametrize("busy", [errno.EBUSY, errno.EINTR, errno.EAGAIN, errno.ETIMEDOUT])
def test_a_busy_quoting_service_is_asked_again(
    kernel: FakeKernel, reports: TsmReports, busy: int
) -> None:
    kernel.set(failures=[busy, busy])
    assert parse_quote(reports.quote(b"a")).report_data == b"a" + bytes(63)
    assert kernel.seen()["entries"] == []


@mounting
def test_a_service_that_stays_busy_is_named(kernel: FakeKernel, reports: TsmReports) -> None:
    kernel.set(failures=[errno.EBUSY] * 3)
    with pytest.raises(CragError, match="3 attempts") as caught:
        reports.quote(b"a")
    assert caught.value.code == "quote-unavailable" and kernel.seen()["entries"] == []


@mounting
def test_another_error_is_not_tried_again(kernel: FakeKernel, reports: TsmReports) -> None:
    kernel.set(failures=[errno.ENXIO])
    with pytest.raises(NotSupported):
        reports.quote(b"a")
    assert len(kernel.seen()["made"]) == 1 and kernel.seen()["entries"] == []


@mounting
def test_a_race_is_seen_by_the_generation_and_tried_again(
    kernel: FakeKernel, reports: TsmReports
) -> None:
    kernel.set(rivals=["ff" * 64])
    assert parse_quote(reports.quote(b"mine")).report_data.startswith(b"mine")
    assert len(kernel.seen()["made"]) == 2


@mounting
def test_a_rival_that_writes_the_same_data_is_a_race_too(
    kernel: FakeKernel, reports: TsmReports
) -> None:
    kernel.set(rivals=[(b"mine" + bytes(60)).hex()] * 3)
    with pytest.raises(CragError, match="another process"):
        reports.quote(b"mine")
    assert kernel.seen()["entries"] == []


@mounting
def test_a_provider_that_is_not_tdx_is_refused(kernel: FakeKernel, reports: TsmReports) -> None:
    kernel.set(provider="sev_guest")
    assert reports.provider() == "sev_guest"
    with pytest.raises(NotSupported, match="sev_guest"):
        reports.quote(b"a")
    assert kernel.seen()["entries"] == []


def test_a_machine_without_the_interface_is_told_so(tmp_path: Path) -> None:
    reports = TsmReports(tmp_path / "absent")
    assert not reports.available() and reports.provider() == ""
    with pytest.raises(NotSupported, match="absent"):
        reports.quote(b"a")


@pytest.mark.parametrize("size", [0, 65])
def test_report_data_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    with pytest.raises(BadInput):
        TsmReports(tmp_path).quote(bytes(size))


@mounting
def test_something_that_is_no_quote_is_refused(kernel: FakeKernel, reports: TsmReports) -> None:
    kernel.set(nonsense=True)
    with pytest.raises(AttestationRejected):
        reports.quote(b"a")
    assert kernel.seen()["entries"] == []
