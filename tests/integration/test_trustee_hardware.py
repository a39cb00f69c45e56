"""Our key-broker client and the local Trustee over hardware evidence of a forged platform."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crag_core.attestation.ear import verify_ear
from crag_core.errors import AttestationRejected, PolicyDenied
from crag_core.trustee import release_policy
from crag_core.trustee.kbs import KbsClient
from support.hardware import anchors, intel
from support.td import Td, b64, gpu, place, td
from support.trustee import RESOURCE, SECRET, Place, b64url, claims, measurement
from support.trustee import ask as post

Make = Callable[..., Place]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Place] = []

    def start(**settings: Any) -> Place:
        made.append(place(tmp_path / f"t{len(made)}", **settings))
        return made[-1]

    yield start
    for one in made:
        one.trustee.stop()


def allow(where: Place, source: Td) -> None:
    with where.admin() as admin:
        admin.set_resource(RESOURCE, SECRET)
        admin.set_reference_values(source.references())
        admin.set_resource_policy(release_policy.write([RESOURCE]))


def fetch(where: Place, source: Td) -> bytes:
    with KbsClient(where.url, source) as client:
        return client.fetch(f"kbs:///{RESOURCE}")


def refusal(where: Place, source: Td) -> str:
    with pytest.raises(AttestationRejected) as error:
        fetch(where, source)
    return error.value.message


def evidence_policy(where: Place, **members: Any) -> None:
    policy = {"format": "crag/evidence-policy/v1", **members}
    (where.folder / "evidence-policy.json").write_text(json.dumps(policy))


def appraise(where: Place, source: Td, tee: str = "tdx") -> str:
    from crag_core.attestation.canonical import report_data

    runtime = {"key": "k"}
    entry = {
        "tee": tee,
        "evidence": b64url(json.dumps(source.evidence(report_data(runtime))).encode()),
        "runtime_data": {"structured": runtime},
    }
    answer = post(where, entry)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_measured_td_gets_the_key_and_the_audit_log_says_which(make: Make) -> None:
    where, source = make(), td()
    allow(where, source)
    assert fetch(where, source) == SECRET
    last = where.audit()[-1]
    assert (last["event"], last["tee"], last["insecure"]) == ("released", "tdx", False)
    assert last["measurement"]["mr_td"] == "11" * 48
    assert last["measurement"]["software"] == source.references()["crag.software"][0]


@pytest.mark.parametrize("name", sorted(set(td().references()) - {"nvidia.vbios", "nvidia.driver"}))
def test_one_register_or_event_that_is_not_known_refuses_the_key(make: Make, name: str) -> None:
    where, source = make(), td()
    allow(where, source)
    with where.admin() as admin:
        admin.set_reference_values({name: ["ab" * 48]})
    with pytest.raises(PolicyDenied):
        fetch(where, source)


def test_the_verdict_has_the_claims_that_the_policies_of_each_trustee_read(make: Make) -> None:
    where, source = make(), td()
    allow(where, source)
    token = appraise(where, source)
    verified = verify_ear(token, anchor_pem=where.trustee.identity.ca_pem, policy_id="default")
    assert (verified.tee, verified.insecure) == ("tdx", False)
    assert verified.measurements["rtmr_1"] == source.references()["tdx.rtmr_1"][0]
    assert verified.measurements["crag.model"] == source.references()["crag.model"][0]
    found = claims(token)["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["tdx"]
    assert found["quote"]["header"]["tee_type"] == "81000000"
    assert found["quote"]["header"]["vendor_id"] == "939a7233f79c4ca9940a0db3957f0607"
    assert found["tcb_status"] == found["tcb_verification"]["tcb_status"] == "UpToDate"
    assert found["td_attributes"]["debug"] is False
    names = [event["type_name"] for event in found["uefi_event_logs"]]
    assert names == ["EV_IPL"] * 3 + ["EV_EVENT_TAG"] * 3


def test_a_text_log_of_an_old_agent_is_read_as_well(make: Make) -> None:
    where, source = make(legacy=True), td(text_log=True)
    allow(where, source)
    found = claims(appraise(where, source))["submods"]["cpu0"]
    assert found["ear.status"] == "affirming"
    tdx = found["ear.veraison.annotated-evidence"]["tdx"]
    assert tdx["aael"]["crag/software"] == [f"sha256:{tdx['events']['software']}"]
    assert fetch(where, source) == SECRET


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"attributes": 1 << 28 | 1}, "'debug'"),
        ({"attributes": 0}, "SEPT_VE_DISABLE"),
        ({"attributes": 1 << 28 | 1 << 29}, "migration"),
    ],
)
def test_a_td_that_others_can_enter_gets_no_verdict(
    make: Make, change: dict[str, Any], why: str
) -> None:
    where, source = make(), td(**change)
    allow(where, source)
    assert why in refusal(where, source)


def test_evidence_of_another_session_is_bound_to_something_else(make: Make) -> None:
    where = make()

    class Replayed(Td):
        def evidence(self, report_data: bytes) -> dict[str, Any]:
            return super().evidence(b"\x05" * 48)

    source = Replayed(measurement())
    allow(where, source)
    assert "bound to something else" in refusal(where, source)


def test_an_event_log_that_does_not_replay_gets_no_verdict(make: Make) -> None:
    where = make()

    class Shortened(Td):
        def evidence(self, report_data: bytes) -> dict[str, Any]:
            other = Td(self.workload, boot=self.boot[:2]).evidence(report_data)
            return {**super().evidence(report_data), "cc_eventlog": other["cc_eventlog"]}

    source = Shortened(measurement())
    allow(where, source)
    assert "'event-log'" in refusal(where, source)


def test_a_platform_that_is_not_patched_is_refused_unless_the_policy_tolerates_it(
    make: Make,
) -> None:
    where, source = make(bundle=None), td()
    allow(where, source)
    store = where.folder / "collateral"
    store.mkdir(mode=0o700)
    now = int(time.time())
    stale = intel().collateral(
        at=now - 60, status="SWHardeningNeeded", advisories=("INTEL-SA-00001",)
    )
    (store / f"{intel().fmspc}-platform-tdx.json").write_text(json.dumps(stale))
    assert "'tcb'" in refusal(where, source)
    evidence_policy(where, quote={"tcb_statuses": ["UpToDate", "SWHardeningNeeded"]})
    assert "INTEL-SA-00001" in refusal(where, source)
    evidence_policy(
        where,
        quote={
            "tcb_statuses": ["UpToDate", "SWHardeningNeeded"],
            "advisories": ["INTEL-SA-00001"],
        },
    )
    assert fetch(where, source) == SECRET


def test_without_collateral_there_is_no_verdict_and_the_reason_is_told(make: Make) -> None:
    where, source = make(bundle=None), td()
    allow(where, source)
    assert "no collateral that is valid now" in refusal(where, source)


def test_a_bundle_that_nobody_trusted_signed_is_not_used(make: Make, tmp_path: Path) -> None:
    where, source = make(), td()
    allow(where, source)
    (where.folder / "collateral" / "trusted-keys").write_text("ab" * 32)
    assert "not signed by a key that is trusted" in refusal(where, source)


def test_the_makers_roots_are_what_is_trusted_by_default(make: Make) -> None:
    from crag_core.attestation.anchors import PINNED

    where, source = make(anchors=PINNED), td()
    allow(where, source)
    assert "Intel's root" in refusal(where, source)
    assert anchors() != PINNED


@pytest.mark.parametrize("where_they_are", ["gpus", "separate"])
def test_gpus_inside_and_beside_the_tds_evidence_are_verified(
    make: Make, where_they_are: str
) -> None:
    where, source = make(), td(**{where_they_are: 1})
    allow(where, source)
    evidence_policy(where, gpu={"required": 1})
    assert fetch(where, source) == SECRET
    (found,) = where.audit()[-1]["gpus"]
    assert found["driver_version"] == "580.95.05"
    with pytest.raises(AttestationRejected, match=r"wants 1 GPU\(s\), 0 answered"):
        fetch(where, td())
    with pytest.raises(AttestationRejected, match=r"One GPU answered|gpu-distinct"):
        fetch(where, td(**{where_they_are: 2}))


def test_a_gpu_whose_versions_nobody_knows_is_not_affirmed(make: Make) -> None:
    where, source = make(), td(gpus=1)
    allow(where, source)
    with where.admin() as admin:
        admin.set_reference_values({"nvidia.driver": ["1.2.3"]})
    with pytest.raises(PolicyDenied):
        fetch(where, source)
    status = claims(appraise(where, source))["submods"]["gpu0"]["ear.status"]
    assert status == "warning"


def test_a_gpu_that_answers_to_another_nonce_gets_no_verdict(make: Make) -> None:
    where = make()

    class Borrowed(Td):
        def evidence(self, report_data: bytes) -> dict[str, Any]:
            found = super().evidence(report_data)
            return {**found, "gpu_evidence": {"evidence_list": [gpu(b"\x07" * 32)]}}

        def additional(self, report_data: bytes) -> dict[str, Any] | None:
            return super().additional(b"\x07" * 32)

    for source in (Borrowed(measurement()), Borrowed(measurement(), separate=1)):
        allow(where, source)
        assert "bound to something else" in refusal(where, source)


def test_gpu_evidence_alone_is_no_machine(make: Make) -> None:
    where = make()

    class OnlyGpu(Td):
        @property
        def tee(self) -> str:
            return "nvidia"

        def evidence(self, report_data: bytes) -> dict[str, Any]:
            found = Td(self.workload, separate=1).additional(report_data)
            assert found is not None
            return dict(found["nvidia"])

    assert "CPU first" in refusal(where, OnlyGpu(measurement()))


def test_a_quote_beyond_its_form_is_refused_without_its_text(make: Make) -> None:
    where = make()
    for quote in ("%%%", b64(b""), b64(b"x" * 5000), 7, None):

        class Broken(Td):
            def evidence(self, report_data: bytes, quote: object = quote) -> dict[str, Any]:
                return {**super().evidence(report_data), "quote": quote}

        assert refusal(where, Broken(measurement()))
