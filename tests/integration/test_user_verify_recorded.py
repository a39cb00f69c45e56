"""``crag-user verify --evidence``: each recorded vector gives the outcome its README states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support import vectors
from support.user import run

PHALA = ["--evidence", str(vectors.FOLDER / "tdx/phala_tdx_quote_v4.dat")]
TIME = str(vectors.TDX_TIME)
NONCE = vectors.GPU_NONCE.hex()
GPU = ["--gpu-report", str(vectors.FOLDER / "nvidia/hopper_coco_report1.txt")]


def collateral(name: str) -> list[str]:
    return ["--collateral", str(vectors.FOLDER / f"collateral/{name}_collateral.json")]


def quote(name: str) -> list[str]:
    return ["--evidence", str(vectors.FOLDER / f"tdx/{name}.dat")]


def log(name: str) -> list[str]:
    return ["--event-log", str(vectors.FOLDER / f"eventlog/{name}")]


def certs(name: str = "hopper_coco_certs1") -> list[str]:
    return ["--gpu-certs", str(vectors.FOLDER / f"nvidia/{name}.txt")]


def judged(*words: str, code: int) -> dict[str, Any]:
    done = run("verify", *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def first_failure(report: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(check for check in report["checks"] if not check["ok"])
    assert found["name"] in report["error"]["message"]
    assert found["detail"] in report["error"]["message"]
    assert report["verdict"] == "rejected" and report["error"]["exit"] == 10
    return found


def ok(report: dict[str, Any], name: str) -> bool:
    return next(bool(check["ok"]) for check in report["checks"] if check["name"] == name)


def rims(folder: Path, *names: str) -> list[str]:
    texts = [vectors.data(f"nvidia/{name}.swidtag").decode() for name in names]
    made = folder / "collateral.json"
    made.write_text(json.dumps({**vectors.collateral("phala_tdx_quote_v4"), "nvidia_rims": texts}))
    return ["--collateral", str(made)]


@vectors.needed
@pytest.mark.parametrize(
    ("at", "code"), [("1750329147", 0), (TIME, 0), ("1752919234", 0), ("1752919235", 10)]
)
def test_the_tdx_quote_is_up_to_date_within_its_collaterals_time(at: str, code: int) -> None:
    report = judged(*PHALA, *collateral("phala_tdx_quote_v4"), "--at", at, code=code)
    assert report["tee"] == "tdx" and report["insecure"] is False
    assert report["token"] == {"issuer": None, "issued": None, "expires": None}
    if code == 0:
        assert report["verdict"] == "affirming" and report["tcb"]["status"] == "UpToDate"
        assert len(report["measurements"]["mr_td"]) == 96


@vectors.needed
def test_a_person_reads_each_check_and_the_first_reason() -> None:
    words = ["verify", *quote("phala_sgx_quote_v3"), *collateral("phala_sgx_quote_v3")]
    done = run(*words, "--at", "1750334171")
    assert done.returncode == 10
    assert "phala_sgx_quote_v3.dat: rejected" in done.stdout
    assert "  ok  signature: " in done.stdout and "  NO  tcb: " in done.stdout
    assert "refused by the check 'tcb'" in done.stderr


@vectors.needed
def test_the_sgx_quote_is_genuine_but_not_up_to_date() -> None:
    words = [*quote("phala_sgx_quote_v3"), *collateral("phala_sgx_quote_v3")]
    report = judged(*words, "--at", "1750334171", code=10)
    assert first_failure(report)["name"] == "tcb" and ok(report, "signature")
    assert report["tcb"]["status"] == "ConfigurationAndSWHardeningNeeded"
    assert report["tcb"]["advisories"] == ["INTEL-SA-00289", "INTEL-SA-00615"]


@vectors.needed
@pytest.mark.parametrize(
    ("at", "reason"), [("1688173200", "No matching TCB level found"), ("1689811200", "expired")]
)
def test_the_production_quote_of_2023_is_refused(at: str, reason: str) -> None:
    words = [*quote("tdx_prod_quote_SPR_E4"), *collateral("gtg_50806f000000_2023"), "--at", at]
    assert reason in first_failure(judged(*words, code=10))["detail"]


@vectors.needed
@pytest.mark.parametrize(
    ("name", "table", "replays"),
    [
        ("gcp_cos113_quote", "gcp_cos113_ccel.bin", True),
        ("alibaba_aael_quote_v4", "AAEL_data_1", True),
        ("gcp_cos113_quote", "CCEL_AAEL_alibabacloud", False),
    ],
)
def test_a_log_replays_to_its_own_quote_only(
    tmp_path: Path, name: str, table: str, replays: bool
) -> None:
    none = tmp_path / "none.json"
    none.write_text("{}")
    words = [*quote(name), "--collateral", str(none), "--at", "1688173200", *log(table)]
    report = judged(*words, code=10)
    assert ok(report, "event-log") is replays
    assert first_failure(report)["name"] == "collateral" and report["measurements"] == {}


@vectors.needed
def test_the_gpus_report_is_affirmed_with_its_nonce_only() -> None:
    words = [*PHALA, *collateral("phala_tdx_quote_v4"), "--at", TIME, *GPU, *certs()]
    report = judged(*words, "--gpu-nonce", NONCE, code=0)
    assert report["gpu"][0]["vbios"] == "96.00.74.00.1A"
    assert first_failure(judged(*words, code=10))["name"] == "gpu0-nonce"


@vectors.needed
@pytest.mark.parametrize("case", [2, 3, 4])
def test_the_broken_gpu_chains_are_refused(case: int) -> None:
    words = [*PHALA, *collateral("phala_tdx_quote_v4"), "--at", TIME, "--gpu-nonce", NONCE]
    report = judged(*words, *GPU, *certs(f"hopper_cert_chain_case{case}"), code=10)
    assert first_failure(report)["name"] == "gpu0-chain"


@vectors.needed
@pytest.mark.parametrize(
    ("rim", "check", "told"),
    [
        ("1010_0200_882_960074001A_PROD", "gpu0-rim-vbios", "11 of 12"),
        ("1010_0200_882_96005E0001_test_no_gpu", "gpu0-rim-vbios", ""),
        ("Driver_RIM_test_no_gpu", "gpu0-rim-driver", ""),
    ],
)
def test_the_rims_match_as_far_as_they_do(tmp_path: Path, rim: str, check: str, told: str) -> None:
    words = [*PHALA, *rims(tmp_path, rim), "--at", TIME, "--gpu-nonce", NONCE, *GPU, *certs()]
    failed = first_failure(judged(*words, code=10))
    assert failed["name"] == check and told in failed["detail"]


@vectors.needed
def test_a_policy_decides(tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text(
        json.dumps({"format": "crag/evidence-policy/v1", "id": "mine", "gpu": {"required": 1}})
    )
    words = [*PHALA, *collateral("phala_tdx_quote_v4"), "--at", TIME, "--policy", str(policy)]
    report = judged(*words, code=10)
    assert report["policy_id"] == "mine" and first_failure(report)["name"] == "gpu"


@vectors.needed
@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--policy", "{"),
        ("--policy", '{"format": "crag/evidence-policy/v1", "gpus": {}}'),
        ("--collateral", "[]"),
        ("--collateral", '{"tcb_info": 1}'),
    ],
)
def test_unusable_rules_or_collateral_end_with_30(tmp_path: Path, flag: str, text: str) -> None:
    made = tmp_path / "file"
    made.write_text(text)
    words = [*PHALA, *collateral("phala_tdx_quote_v4"), "--at", TIME, flag, str(made)]
    assert judged(*words, code=30)["error"]["hint"]


@vectors.needed
@pytest.mark.parametrize("nonce", ["xyz", "00"])
def test_an_unusable_nonce_ends_with_30(nonce: str) -> None:
    words = [*PHALA, *collateral("phala_tdx_quote_v4"), "--at", TIME, *GPU, *certs()]
    assert judged(*words, "--gpu-nonce", nonce, code=30)["error"]["exit"] == 30


@vectors.needed
def test_bad_evidence_is_refused_and_not_bad_input(tmp_path: Path) -> None:
    cut = tmp_path / "quote"
    cut.write_bytes(vectors.data("tdx/phala_tdx_quote_v4.dat")[:900])
    words = ["--evidence", str(cut), *collateral("phala_tdx_quote_v4"), "--at", TIME]
    assert first_failure(judged(*words, code=10))["name"] == "quote-format"


@pytest.mark.parametrize(
    "words",
    [
        ["--evidence", "quote"],
        ["--evidence", "quote", "--collateral", "c"],
        ["--evidence", "quote", "--at", "1"],
        ["--collateral", "c", "http://127.0.0.1:1", "--trustee", "http://127.0.0.1:1"],
        ["--evidence", "q", "--collateral", "c", "--at", "1", "--gpu-nonce", "00"],
        [],
    ],
)
def test_what_does_not_go_together_is_a_usage_error(words: list[str]) -> None:
    assert judged(*words, code=2)["error"]["exit"] == 2


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    words = ["--evidence", str(tmp_path / "no-quote"), "--collateral", "c", "--at", "1"]
    assert "no-quote" in judged(*words, code=30)["error"]["message"]
