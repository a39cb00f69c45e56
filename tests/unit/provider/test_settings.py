"""Settings: what is measured, what is refused, what is derived."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.canonical import canonical_json
from crag_core.errors import CragError, IntegrityViolated, NotSupported, UsageError
from crag_core.keys import MasterKey
from crag_provider.key_release import require_check_value
from crag_provider.secret import Secret
from crag_provider.settings import ProviderSettings, checked_llm, checked_method, local_volume

BASE = ProviderSettings(
    trustee_url="http://one",
    model_key_id="kbs:///default/crag/model-key",
    alt_trustee_url="http://two",
    alt_key_id="kbs:///default/crag/documents-key",
    collection="documents",
)


@pytest.mark.parametrize(
    "change",
    [
        {"trustee_url": "http://other"},
        {"alt_trustee_url": "http://other"},
        {"model_key_id": "kbs:///default/crag/other-key"},
        {"alt_key_id": "kbs:///default/crag/other-key"},
        {"collection": "other"},
        {"data_key_check": "kcv1:00"},
        {"snapshot_id": "kbs:///default/crag/other"},
        {"require_anchor": False},
        {"llm": "extractive"},
        {"llm": "http://127.0.0.1:1/v1"},
        {"llm_model": "other"},
        {"llm_style": "large"},
        {"llm_context": 4096},
        {"k": 6},
        {"fetch": 200},
        {"rotation_seconds": 60},
        {"insecure_sample_evidence": True},
        {"trustee_policy": "other"},
        {"embedder_url": "http://other"},
        {"gpu_evidence": "require"},
        {"key_source": "cdh"},
    ],
)
def test_whatever_decides_what_is_done_is_measured(change: dict[str, Any]) -> None:
    assert dataclasses.replace(BASE, **change).measured() != BASE.measured()


@pytest.mark.parametrize(
    "change",
    [
        {"listen": "0.0.0.0:9"},
        {"volume": Path("/x")},
        {"mount_point": Path("/x")},
        {"model_access": "memory"},
        {"llm_threads": 3},
        {"llm_parallel": 3},
        {"evidence": "agent"},
        {"agent_url": "http://127.0.0.1:9"},
        {"cdh_config": Path("/x")},
        {"event_log": "text"},
        {"sys_root": Path("/x")},
    ],
)
def test_addresses_paths_and_sizes_of_the_machine_are_not(change: dict[str, Any]) -> None:
    assert dataclasses.replace(BASE, **change).measured() == BASE.measured()


def test_no_secret_is_measured_or_shown() -> None:
    secret = dataclasses.replace(BASE, llm_api_key="hunter2", embedder_api_key="hunter3")
    assert "hunter" not in json.dumps(secret.measured()) + repr(secret)
    assert canonical_json(secret.measured())


def test_the_anchor_stands_beside_the_key() -> None:
    assert BASE.anchor_id == "kbs:///default/crag/documents-snapshot"
    odd = dataclasses.replace(BASE, alt_key_id="kbs:///default/aliyun/crag-master")
    assert odd.anchor_id == "kbs:///default/aliyun/crag-master-snapshot"
    assert dataclasses.replace(BASE, snapshot_id="kbs:///a/b/c").anchor_id == "kbs:///a/b/c"


@pytest.mark.parametrize(
    ("llm", "error"),
    [
        ("gpt-4", UsageError),
        ("ftp://127.0.0.1/", UsageError),
        ("http://user:pass@127.0.0.1/v1", UsageError),
        ("http://127.0.0.1/v1?key=x", UsageError),
        ("https://api.openai.com/v1", NotSupported),
        ("http://127.0.0.1.evil.example/v1", NotSupported),
        ("http://10.0.0.1/v1", NotSupported),
        ("http://[", UsageError),
    ],
)
def test_no_model_outside_this_machine_is_used(llm: str, error: type[CragError]) -> None:
    with pytest.raises(error):
        checked_llm(llm)


@pytest.mark.parametrize("llm", ["llamacpp", "vllm", "extractive", "http://127.0.0.1:8001/v1/"])
def test_models_on_this_machine_are_used(llm: str) -> None:
    assert checked_llm(llm) == llm.rstrip("/")


def test_encryption_methods() -> None:
    checked_method("gocryptfs")
    with pytest.raises(NotSupported, match="Sam toolkit"):
        checked_method("sam")
    with pytest.raises(NotSupported, match="unknown method"):
        checked_method("rot13")


def test_a_bucket_path_is_a_folder_or_a_later_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local_volume(f"file://{tmp_path}") == tmp_path
    assert local_volume(str(tmp_path)) == tmp_path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "volume").mkdir()
    assert local_volume("volume") == Path("volume")
    for remote in ("oss://bucket/model", "bucket/model", "https://oss.example/m", "file://host/m"):
        with pytest.raises(NotSupported, match="later release"):
            local_volume(remote)


def test_a_data_key_is_compared_with_the_pinned_check_value() -> None:
    key = MasterKey.generate()
    require_check_value(Secret(key.raw), key.check_value())
    require_check_value(Secret(key.raw), "")
    with pytest.raises(IntegrityViolated) as refused:
        require_check_value(Secret(MasterKey.generate().raw), key.check_value())
    assert refused.value.code == "data-key-mismatch"


def test_a_wiped_secret_is_gone_from_its_buffer() -> None:
    secret = Secret(b"very secret")
    assert "very" not in repr(secret)
    kept = secret.buffer
    with secret:
        assert bytes(kept) == b"very secret"
    assert bytes(kept) == b""
