"""Every recorded vector gives the outcome that its README states."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from crag_core.attestation.aael import events_of
from crag_core.attestation.anchors import NVIDIA_RIM_KEY
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.claims import event_claims
from crag_core.attestation.offline import verify_recorded
from crag_core.attestation.policy import EventPolicy, GpuPolicy, Policy, QuotePolicy, RequiredEvent
from crag_core.attestation.rim import verify_rim
from crag_core.attestation.verdict import Check, Verdict
from crag_core.errors import AttestationRejected
from support import vectors

pytestmark = vectors.needed

PHALA_EARLIEST, PHALA_LATEST = 1750329147, 1752919234


def quote(name: str) -> bytes:
    return vectors.data(f"tdx/{name}.dat")


def phala(at: int = vectors.TDX_TIME, **rest: Any) -> Verdict:
    rims = rest.pop("rims", [])
    collateral = {**vectors.collateral("phala_tdx_quote_v4"), "nvidia_rims": rims}
    return verify_recorded(quote("phala_tdx_quote_v4"), collateral, at, **rest)


def check(verdict: Verdict, name: str) -> Check:
    return next(item for item in verdict.checks if item.name == name)


def test_the_tdx_quote_is_up_to_date_between_its_two_ends() -> None:
    for at in (PHALA_EARLIEST, vectors.TDX_TIME, PHALA_LATEST):
        verdict = phala(at)
        assert verdict.verdict == "affirming"
        assert verdict.tcb["status"] == "UpToDate" and verdict.tcb["advisories"] == []
    for at in (PHALA_EARLIEST - 1, PHALA_LATEST + 1):
        assert phala(at).verdict == "rejected"


def test_the_tdx_quotes_measurements_can_be_pinned() -> None:
    body = quote("phala_tdx_quote_v4")
    pins = {"mr_td": frozenset({body[184:232]}), "report_data": frozenset({body[568:632]})}
    assert phala(policy=Policy(quote=QuotePolicy(measurements=pins))).verdict == "affirming"
    wrong = {**pins, "rtmr3": frozenset({b"\1" * 48})}
    verdict = phala(policy=Policy(quote=QuotePolicy(measurements=wrong)))
    assert verdict.failure is not None and verdict.failure.name == "rtmr3"


def test_the_sgx_quote_is_genuine_but_not_up_to_date() -> None:
    collateral = vectors.collateral("phala_sgx_quote_v3")
    verdict = verify_recorded(quote("phala_sgx_quote_v3"), collateral, 1750334171)
    assert verdict.tee == "sgx" and verdict.verdict == "rejected"
    assert check(verdict, "signature").ok
    assert verdict.failure is not None and verdict.failure.name == "tcb"
    assert verdict.tcb["status"] == "ConfigurationAndSWHardeningNeeded"
    assert verdict.tcb["advisories"] == ["INTEL-SA-00289", "INTEL-SA-00615"]
    assert not check(verdict, "tee").ok


def test_the_production_quote_of_2023_matches_no_tcb_level_then_expires() -> None:
    collateral = vectors.collateral("gtg_50806f000000_2023")
    early = verify_recorded(quote("tdx_prod_quote_SPR_E4"), collateral, 1688173200)
    assert early.failure is not None
    assert early.failure.name == "signature"
    assert "No matching TCB level found" in early.failure.detail
    late = verify_recorded(quote("tdx_prod_quote_SPR_E4"), collateral, 1689811200)
    assert late.failure is not None and "expired" in late.failure.detail


def test_google_clouds_log_replays_to_all_four_registers() -> None:
    log = vectors.data("eventlog/gcp_cos113_ccel.bin")
    verdict = verify_recorded(quote("gcp_cos113_quote"), {}, 1688173200, event_log=log)
    assert check(verdict, "event-log").ok
    assert "RTMR0 to RTMR3" in check(verdict, "event-log").detail
    assert len(parse_ccel(log).events) in (42, 43)
    assert not check(verdict, "collateral").ok and verdict.verdict == "rejected"


def test_alibabas_text_log_replays_to_rtmr3() -> None:
    log = vectors.data("eventlog/AAEL_data_1")
    container = RequiredEvent("image-rs", "CreateContainer", "docker.io/library/alpine")
    policy = Policy(events=EventPolicy(contains=(container,)))
    verdict = verify_recorded(
        quote("alibaba_aael_quote_v4"), {}, 1688173200, event_log=log, policy=policy
    )
    assert check(verdict, "event-log").ok
    assert check(verdict, "event image-rs/CreateContainer").ok
    assert quote("alibaba_aael_quote_v4")[520:568].hex().startswith("71563a23b430b863")


def test_alibabas_ccel_parses_to_exactly_the_recorded_claims() -> None:
    log = parse_ccel(vectors.data("eventlog/CCEL_AAEL_alibabacloud"))
    recorded = json.loads(vectors.data("eventlog/CCEL_AAEL_alibabacloud_out.json"))
    assert event_claims(log) == recorded["uefi_event_logs"]
    assert [event.domain for event in events_of(log)] == ["coco.com", "coco.com"]


def test_alibabas_ccel_replays_as_an_independent_fold_does() -> None:
    recorded = json.loads(vectors.data("eventlog/CCEL_AAEL_alibabacloud_out.json"))
    registers = {index: bytes(48) for index in range(1, 5)}
    for event in recorded["uefi_event_logs"]:
        digest = bytes.fromhex(event["digests"][0]["digest"])
        index = event["index"]
        registers[index] = hashlib.sha384(registers[index] + digest).digest()
    log = parse_ccel(vectors.data("eventlog/CCEL_AAEL_alibabacloud"))
    assert log.replay() == registers


def gpu(certificates: str = "hopper_coco_certs1.txt", **rest: Any) -> Verdict:
    rest.setdefault("gpu_nonce", vectors.GPU_NONCE)
    return phala(
        gpu_report=vectors.data("nvidia/hopper_coco_report1.txt"),
        gpu_certs=vectors.data(f"nvidia/{certificates}"),
        **rest,
    )


def rim(name: str) -> str:
    return vectors.data(f"nvidia/{name}.swidtag").decode()


def test_the_gpus_report_verifies_to_nvidias_root() -> None:
    verdict = gpu()
    assert verdict.verdict == "affirming"
    for name in ("chain", "signature", "fwid", "nonce"):
        assert check(verdict, f"gpu0-{name}").ok
    entry = verdict.gpu[0]
    assert entry["vbios"] == "96.00.74.00.1A" and entry["driver"] == "580.95.05"
    assert entry["mode"] == "spt" and entry["bound"] is False
    assert entry["rim"] == {"vbios": "absent", "driver": "absent"}


def test_the_gpus_report_is_refused_without_its_nonce() -> None:
    verdict = gpu(gpu_nonce=None)
    assert verdict.failure is not None and verdict.failure.name == "gpu0-nonce"


@pytest.mark.parametrize("case", [2, 3, 4])
def test_the_broken_chains_are_refused(case: int) -> None:
    verdict = gpu(f"hopper_cert_chain_case{case}.txt")
    assert verdict.failure is not None and verdict.failure.name == "gpu0-chain"


def test_the_reports_own_rim_matches_eleven_of_twelve() -> None:
    verdict = gpu(rims=[rim("1010_0200_882_960074001A_PROD")])
    assert check(verdict, "rim 0").ok
    found = check(verdict, "gpu0-rim-vbios")
    assert not found.ok and "11 of 12" in found.detail and "index 9 differs" in found.detail


def test_the_differing_measurement_can_be_accepted_by_value_only() -> None:
    raw = vectors.data("nvidia/hopper_coco_report1.txt")
    measured = bytes.fromhex(raw.decode())[37 + 8 :][9 * 55 + 7 : 10 * 55]
    accepted = Policy(gpu=GpuPolicy(accepted_measurements={9: frozenset({measured})}))
    verdict = gpu(rims=[rim("1010_0200_882_960074001A_PROD")], policy=accepted)
    assert verdict.verdict == "affirming"
    assert verdict.gpu[0]["rim"]["vbios"] == "matched"


def test_the_rims_of_other_versions_do_not_match() -> None:
    other = gpu(rims=[rim("1010_0200_882_96005E0001_test_no_gpu")])
    assert not check(other, "gpu0-rim-vbios").ok
    driver = gpu(rims=[rim("Driver_RIM_test_no_gpu")])
    assert not check(driver, "gpu0-rim-driver").ok


def test_the_rim_is_refused_once_its_signers_certificate_has_expired() -> None:
    document = rim("1010_0200_882_960074001A_PROD").encode()
    end = int(datetime(2025, 9, 5, 8, 35, 22, tzinfo=UTC).timestamp())
    assert verify_rim(document, NVIDIA_RIM_KEY, end).version == "96.00.74.00.1A"
    with pytest.raises(AttestationRejected, match="expired"):
        verify_rim(document, NVIDIA_RIM_KEY, end + 1)


def test_the_report_is_read_from_the_forks_json_too() -> None:
    report = bytes.fromhex(vectors.data("nvidia/hopper_coco_report1.txt").decode())
    entry = {
        "index": 0,
        "driver_version": "580.95.05",
        "vbios_version": "96.00.74.00.1A",
        "attestation_report": base64.b64encode(report).decode(),
        "certificate": base64.b64encode(vectors.data("nvidia/hopper_coco_certs1.txt")).decode(),
        "cc_enabled": True,
    }
    evidence = json.dumps({"evidence_list": [entry], "collection_time": ""}).encode()
    assert phala(gpu_report=evidence, gpu_nonce=vectors.GPU_NONCE).verdict == "affirming"
