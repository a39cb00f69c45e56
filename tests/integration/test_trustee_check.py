"""'trustee check' finds what is open, harms nothing, and finds nothing where nothing is open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crag_core.errors import BadInput, CragError, Unreachable
from crag_core.gateway.endpoint import free_endpoint
from crag_core.trustee.check.findings import CATALOGUE, ORDER
from crag_core.trustee.check.scan import Report, scan
from crag_core.trustee.local.serve import Settings, Trustee
from support.foreign_trustee import ForeignTrustee
from support.small_as import Http
from support.trustee import RESOURCE, SECRET, Place, measurement, start

OWNER = Path(sys.executable).parent / "crag-owner"
VENDORS = {
    "allow-all-policy",
    "audit-readable",
    "debug-affirmed",
    "foreign-signer",
    "gpu-unverified",
    "names-readable",
    "nothing-pinned",
    "old-protocol",
    "open-as-policy",
    "open-attestation-policy",
    "open-reference-values",
    "policies-readable",
    "reference-values-readable",
    "sample-evidence",
    "signer-unverifiable",
    "tcb-invisible",
    "unbound-evidence",
}
Make = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Place] = []

    def begin(**settings: Any) -> Place:
        folder = tmp_path / f"t{len(made)}"
        made.append(start(folder, **{"accept_sample": False, **settings}))
        return made[-1]

    yield begin
    for one in made:
        one.trustee.stop()


def look(place: Place) -> Report:
    return scan(place.url, key_files=(place.folder / "admin.key",))


def names(report: Report) -> set[str]:
    return {finding.id for finding in report.findings}


def test_our_posture_has_no_hole(make: Make) -> None:
    place = make()
    place.allow(measurement())
    report = look(place)
    assert report.findings == []
    assert report.unchecked == []
    assert report.server.kind == "crag"


def test_the_vendors_posture_has_all_of_them(make: Make) -> None:
    report = look(make(vendor_defaults=True))
    assert names(report) == VENDORS
    assert report.critical
    assert report.unchecked == []
    severities = [finding.severity for finding in report.findings]
    assert severities == sorted(severities, key=ORDER.index)
    for finding in report.findings:
        assert finding.seen
        assert finding.gains
        assert finding.close


def test_sample_evidence_and_the_old_protocol_are_found_where_they_were_asked_for(
    make: Make,
) -> None:
    assert names(look(make(accept_sample=True))) == {"sample-evidence"}
    assert names(look(make(legacy=True))) == {"old-protocol"}


@pytest.mark.parametrize("posture", [{}, {"vendor_defaults": True}, {"accept_sample": True}])
def test_a_scan_changes_nothing(make: Make, posture: dict[str, Any]) -> None:
    place = make(**posture)
    with place.admin() as admin:
        admin.set_resource(RESOURCE, SECRET)
        admin.set_reference_values(measurement().reference_values())

    def state() -> dict[Path, bytes]:
        files = (path for path in place.folder.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files if path.name != "audit.jsonl"}

    before = state()
    look(place)
    assert state() == before


def test_a_readable_admin_key_is_found_on_the_trustees_machine(make: Make) -> None:
    place = make()
    (place.folder / "admin.key").chmod(0o644)
    report = look(place)
    assert names(report) == {"admin-key-readable"}
    assert str(place.folder / "admin.key") in report.findings[0].close


def test_plain_http_is_found_where_others_are_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    from crag_core.trustee.check import scan as module

    for url, local in {
        "http://127.0.0.1:1": True,
        "http://[::1]:1": True,
        "http://localhost:1": True,
        "http://10.0.0.1:1": False,
        "http://trustee.example:1": False,
        "http://127.0.0.1.example:1": False,
    }.items():
        assert module.local(url) is local
        assert bool(module._probe_transport(url)) is not local
    assert module._probe_transport("https://trustee.example") == []


@pytest.mark.parametrize("kind", ["openanolis-1.5", "openanolis-1.9", "upstream"])
def test_other_servers_are_told_apart_and_their_open_paths_found(kind: str) -> None:
    with ForeignTrustee(kind) as there:
        report = scan(there.address, key_files=())
    found = names(report)
    assert report.server.kind == kind
    assert ("tcb-invisible" in found) is (kind == "openanolis-1.5")
    assert ("gpu-unverified" in found) is (kind != "upstream")
    assert ("names-readable" in found) is (kind != "upstream")
    assert "foreign-signer" not in found


def test_what_is_no_trustee_and_what_does_not_answer_is_no_clean_bill() -> None:
    class Web(Http):
        def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
            return 200, "text/html", b"<p>hello</p>"

    with Web() as web, pytest.raises(CragError) as refused:
        scan(web.url)
    assert refused.value.code == "not-a-trustee"
    with pytest.raises(Unreachable):
        scan(free_endpoint().url)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(OWNER), "trustee", "check", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=dict(os.environ),
    )


def test_the_command_exits_11_where_anything_is_critical(make: Make) -> None:
    strict, vendor = make(), make(vendor_defaults=True)
    done = run(strict.url, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["findings"], report["critical"]) == ([], False)
    done = run(vendor.url, "--json")
    assert done.returncode == 11
    report = json.loads(done.stdout)
    assert {finding["id"] for finding in report["findings"]} == VENDORS
    assert report["counts"]["critical"] >= 7
    shown = run(vendor.url)
    assert shown.returncode == 11
    assert "insecure_key = false" in shown.stdout
    assert run(free_endpoint().url).returncode == 75


def test_no_catalogue_entry_is_without_gain_or_remedy() -> None:
    for finding in CATALOGUE.values():
        assert len(finding.gains) > 20
        assert len(finding.close) > 20


def test_a_folder_that_was_open_is_never_served_as_a_strict_one(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    start(folder, accept_sample=False, vendor_defaults=True).trustee.stop()
    with pytest.raises(BadInput, match="insecure defaults"):
        Trustee(Settings(folder))
    strict = tmp_path / "strict"
    start(strict).trustee.stop()
    with pytest.raises(BadInput, match="not empty"):
        Trustee(Settings(strict, vendor_defaults=True))
