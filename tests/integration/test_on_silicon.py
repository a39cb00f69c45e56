"""On a real TD: what the fakes of the other tests stand for. Nothing here extends a register."""

from __future__ import annotations

import json
import os

import pytest

from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.ccel_write import before
from crag_core.attestation.gpu_evidence import load_gpu_evidence
from crag_core.attestation.nvml import GpuCollector
from crag_core.attestation.quote import parse_quote
from crag_core.attestation.rtmr import RuntimeRegister
from crag_core.attestation.spdm import parse_report
from crag_core.attestation.tdx_evidence import CCEL
from crag_core.attestation.tsm import PROVIDER, TsmReports

pytestmark = pytest.mark.hardware


@pytest.fixture
def reports() -> TsmReports:
    made = TsmReports()
    if made.provider() != PROVIDER:
        pytest.skip("this is no TDX guest with configfs-tsm, or not root")
    return made


def test_a_quote_is_bound_and_its_registers_are_those_of_the_kernel(reports: TsmReports) -> None:
    data = os.urandom(64)
    quote = parse_quote(reports.quote(data))
    assert quote.report_data == data
    register = RuntimeRegister()
    if not register.available():
        pytest.skip("the kernel has no measurements below sysfs (Linux 6.16)")
    assert register.read() == quote.rtmr(3)


def test_the_firmwares_log_replays_to_the_quote(reports: TsmReports) -> None:
    quote = parse_quote(reports.quote(os.urandom(64)))
    log = CCEL.read_bytes()
    replayed = parse_ccel(log).replay()
    assert [replayed[index + 1] for index in range(3)] == [quote.rtmr(i) for i in range(3)]
    assert all(len(digest) == 48 for digest in before(log))


def test_the_gpus_answer_to_the_nonce() -> None:
    collector = GpuCollector()
    lacking = collector.lacking()
    if lacking:
        pytest.skip(lacking)
    nonce = os.urandom(32)
    for device in load_gpu_evidence(json.dumps(collector(nonce)).encode(), None):
        assert parse_report(device.report).nonce == nonce
