"""'crag-owner key log', 'trustee policy write' and 'apply --from', against a running Trustee."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from crag_core.errors import PolicyDenied
from crag_core.trustee.kbs import KbsClient
from support import trustee_claims
from support.td import place as hardware_place
from support.td import td
from support.trustee import RESOURCE, SECRET, Place, measurement

OWNER = Path(sys.executable).parent / "crag-owner"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = hardware_place(tmp_path / "trustee")
    with made.admin() as admin:
        admin.set_resource(RESOURCE, SECRET)
    yield made
    made.trustee.stop()


def run(place: Place, *words: str, admin: bool = True) -> tuple[int, dict[str, Any]]:
    key = ["--trustee", place.url, "--trustee-admin-key-file", str(place.folder / "admin.key")]
    done = subprocess.run(
        [str(OWNER), *words, *(key if admin else []), "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=dict(os.environ),
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def pin(place: Place, folder: Path, *more: str) -> None:
    attested = folder / "attest.json"
    attested.write_text(json.dumps(trustee_claims.attested()))
    out = str(folder / "policies")
    words = ["trustee", "policy", "write", "--measurement", str(attested), "-o", out]
    code, found = run(place, *words, "--resource", f"kbs:///{RESOURCE}", *more, admin=False)
    assert code == 0, found
    code, found = run(place, "trustee", "policy", "apply", "--from", out)
    assert code == 0, found
    assert found["kind"] == "crag"


def test_written_policies_release_the_key_to_the_measured_enclave_only(
    place: Place, tmp_path: Path
) -> None:
    pin(place, tmp_path)
    with KbsClient(place.url, td()) as client:
        assert client.fetch(RESOURCE) == SECRET
    others = [td(mr_td=b"\x12" * 48), td(boot=td().boot[:2])]
    other = td()
    other.workload = measurement("other")
    for source in (*others, other):
        with KbsClient(place.url, source) as client, pytest.raises(PolicyDenied):
            client.fetch(RESOURCE)


def test_a_replaced_attestation_policy_still_releases_nothing(place: Place, tmp_path: Path) -> None:
    pin(place, tmp_path)
    with place.admin() as admin:
        admin.set_attestation_policy("default", "package policy\nhardware := 2\nexecutables := 3\n")
    with KbsClient(place.url, td()) as client:
        assert client.fetch(RESOURCE) == SECRET
    with (
        KbsClient(place.url, td(mr_td=b"\x12" * 48)) as client,
        pytest.raises(PolicyDenied),
    ):
        client.fetch(RESOURCE)


def test_gpus_can_be_demanded(place: Place, tmp_path: Path) -> None:
    pin(place, tmp_path, "--require-gpu", "1")
    with KbsClient(place.url, td()) as client, pytest.raises(PolicyDenied):
        client.fetch(RESOURCE)
    # Without NVIDIA's RIMs at hand nobody knows what the GPU measures.
    with KbsClient(place.url, td(gpus=1)) as client, pytest.raises(PolicyDenied):
        client.fetch(RESOURCE)
    from support.fake_nvidia import DRIVER
    from support.hardware import nvidia

    rims = place.folder / "collateral" / "rims"
    rims.mkdir(mode=0o700)
    (rims / "vbios").write_text(nvidia().rim())
    (rims / "driver").write_text(nvidia().rim(version=DRIVER, indices=range(12, 20)))
    with KbsClient(place.url, td(gpus=1)) as client:
        assert client.fetch(RESOURCE) == SECRET


def test_the_log_tells_who_got_which_key_when_and_why(place: Place, tmp_path: Path) -> None:
    pin(place, tmp_path)
    with KbsClient(place.url, td()) as client:
        client.fetch(RESOURCE)
    with (
        KbsClient(place.url, td(mr_td=b"\x12" * 48)) as client,
        pytest.raises(PolicyDenied),
    ):
        client.fetch(RESOURCE)
    code, found = run(place, "key", "log")
    assert code == 0
    refused, released = found["releases"]
    assert (released["released"], released["resource"]) == (True, RESOURCE)
    assert (released["tee"], released["insecure"]) == ("tdx", False)
    assert released["measurement"]["mr_td"] == "11" * 48
    assert released["measurement"]["software"]
    assert released["policy"]["id"] == "default"
    assert len(released["policy"]["resource_sha384"]) == 96
    assert len(released["who"]["key_sha256"]) == 64
    assert (refused["released"], refused["reason"]) == (False, "policy")
    assert refused["measurement"]["mr_td"] == "12" * 48
    assert refused["time"] >= released["time"]
    # A refusal since then takes no place of the release that is asked for.
    for words in (["--released"], ["--released", "--resource", f"kbs:///{RESOURCE}"]):
        code, found = run(place, "key", "log", "--limit", "1", *words)
        assert found["releases"] == [released]
    code, found = run(place, "key", "log", "--resource", "kbs:///default/crag/other")
    assert found["releases"] == []


def test_a_changed_line_of_the_log_is_found(place: Place, tmp_path: Path) -> None:
    pin(place, tmp_path)
    with KbsClient(place.url, td()) as client:
        client.fetch(RESOURCE)
    log = place.folder / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:1] + lines[2:]))
    code, found = run(place, "key", "log")
    assert code == 12
    assert found["error"]["details"]["line"] == 2


def test_the_log_is_for_the_admin_only(place: Place) -> None:
    for headers in ({}, {"authorization": "Bearer x"}):
        reply = httpx.get(f"{place.url}/audit/resources", headers=headers, trust_env=False)
        assert reply.status_code == 401


def test_scoped_policies_are_administered(place: Place, tmp_path: Path) -> None:
    pin(place, tmp_path)
    with place.admin() as admin:
        deny = "package policy\nimport rego.v1\ndefault allow := false\n"
        admin.set_resource_policy(deny, "default/crag")
        assert admin.get_resource_policy("default/crag") == deny
        with KbsClient(place.url, td()) as client, pytest.raises(PolicyDenied):
            client.fetch(RESOURCE)
        assert place.audit()[-1]["policy"]["scope"] == "default/crag"
        admin.delete_resource_policy("default/crag")
        with KbsClient(place.url, td()) as client:
            assert client.fetch(RESOURCE) == SECRET
