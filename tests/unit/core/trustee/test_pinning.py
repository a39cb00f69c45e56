"""The policies that pin measurements, in the Rego engine, on the claims of every Trustee."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from crag_core.attestation.measurement import Event, Measurement
from crag_core.errors import BadInput
from crag_core.trustee import pinning, pins
from crag_core.trustee.local.rego import evaluate
from support import trustee_claims as made
from support import vectors
from support.td import Td
from support.trustee import measurement

SCALARS = ("executables", "hardware", "configuration", "file_system")
RESOURCE = "default/crag/documents-key"


def pinned(**changes: Any) -> pins.Pins:
    events, registers = pins.measured([("attest.json", json.dumps(made.attested()).encode())])
    return pins.Pins(events, registers, (RESOURCE,), accept_unknown_tcb=True, **changes)


def policies(**changes: Any) -> dict[str, str]:
    return pinning.write(pinned(**changes))


def ear_forks(policy: str, evidence: dict[str, Any]) -> bool:
    """As both forks judge for EAR tokens: each claim by itself, all must affirm."""
    found = evaluate(policy, SCALARS, evidence, {"reference": {}})
    return set(found) == set(SCALARS) and all(2 <= value <= 31 for value in found.values())


def ear_upstream(policy: str, evidence: dict[str, Any]) -> bool:
    """As upstream judges: one object."""
    claims = evaluate(policy, ["trust_claims"], evidence, {})["trust_claims"]
    assert set(claims) == {"executables", "hardware", "configuration", "file-system"}
    return all(2 <= value <= 31 for value in claims.values())


def simple(policy: str, evidence: dict[str, Any]) -> bool:
    """As openanolis 1.5 judges for Simple tokens."""
    return evaluate(policy, ["allow"], evidence, {"reference": {}})["allow"] is True


def path(name: str, *, array: bool = False) -> dict[str, Any]:
    if array:
        return {"plugin": "resource", "resource-path": name.split("/"), "query": {}}
    return {"resource-path": f"resource/{name}"}


def release(policy: str, claims: dict[str, Any], data: dict[str, Any]) -> bool:
    return evaluate(policy, ["allow"], claims, data)["allow"] is True


Judge = Callable[[str, dict[str, Any]], bool]
VERSIONS: dict[str, tuple[Judge, Callable[[], dict[str, Any]]]] = {
    "1.5 EAR": (ear_forks, made.old),
    "1.5 Simple": (simple, made.simple),
    "1.9": (ear_forks, made.fork),
    "upstream": (ear_upstream, made.upstream),
}


def token(version: str, evidence: dict[str, Any]) -> dict[str, Any]:
    if version == "1.5 Simple":
        return made.simple_token(evidence)
    return made.ear(evidence, "cpu" if version == "1.5 EAR" else "cpu0")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_pinned_enclave_is_affirmed_and_gets_its_key(version: str) -> None:
    judge, claims = VERSIONS[version]
    written = policies()
    evidence = claims()
    assert judge(written[pinning.ATTESTATION], evidence)
    data = path(RESOURCE, array=version == "upstream")
    assert release(written[pinning.RESOURCE], token(version, evidence), data)
    other = path("default/crag/other-key", array=version == "upstream")
    assert not release(written[pinning.RESOURCE], token(version, evidence), other)


def wrong_places(version: str) -> list[tuple[tuple[Any, ...], Any]]:
    """Each pinned member, with another value."""
    if version == "1.5 Simple":
        body = [(f"tdx.quote.body.{name}",) for name in pins.REGISTERS]
        aael = [(f"tdx.aael.crag/{name}",) for name in pins.EVENTS]
        header = [("tdx.quote.header.tee_type",), ("tdx.quote.header.vendor_id",)]
    else:
        body = [("tdx", "quote", "body", name) for name in pins.REGISTERS]
        aael = [("tdx", "aael", f"crag/{name}") for name in pins.EVENTS]
        header = [("tdx", "quote", "header", name) for name in ("tee_type", "vendor_id")]
    places: list[tuple[tuple[Any, ...], Any]] = [(place, "cd" * 48) for place in (*body, *header)]
    if version.startswith("1.5"):
        good = "sha256:" + "ab" * 32
        return places + [(place, value) for place in aael for value in ([good], [], None)]
    last = [("tdx", "uefi_event_logs", index) for index in (-1, -2, -3)]
    places += [((*place, "digests", 0, "digest"), "ab" * 48) for place in last]
    places += [((*place, "index"), 3) for place in last]
    places += [((*place, "type_name"), "EV_IPL") for place in last]
    return [*places, (("tdx", "uefi_event_logs"), [])]


@pytest.mark.parametrize("version", VERSIONS)
def test_one_member_that_differs_is_refused_by_both_policies(version: str) -> None:
    judge, claims = VERSIONS[version]
    written = policies()
    data = path(RESOURCE, array=version == "upstream")
    places = wrong_places(version)
    assert len(places) > 10
    for place, value in places:
        evidence = made.changed(claims(), place, value)
        assert not judge(written[pinning.ATTESTATION], evidence), place
        # Even where the attestation policy was replaced by one that affirms everything.
        assert not release(written[pinning.RESOURCE], token(version, evidence), data), place


@pytest.mark.parametrize("version", ["1.9", "upstream"])
def test_an_event_of_ours_that_nobody_knows_is_refused(version: str) -> None:
    judge, claims = VERSIONS[version]
    evidence = claims()
    log = evidence["tdx"]["uefi_event_logs"]
    strange = made.changed(log[-1], ("digests", 0, "digest"), "ab" * 48)
    evidence["tdx"]["uefi_event_logs"] = [*log, strange]
    assert not judge(policies()[pinning.ATTESTATION], evidence)


@pytest.mark.parametrize("version", ["1.5 EAR", "1.5 Simple"])
def test_a_second_event_of_the_same_name_is_refused(version: str) -> None:
    judge, claims = VERSIONS[version]
    evidence = claims()
    place = evidence if version == "1.5 Simple" else evidence["tdx"]["aael"]
    name = "tdx.aael.crag/software" if version == "1.5 Simple" else "crag/software"
    place[name] = [*place[name], "sha256:" + "ab" * 32]
    assert not judge(policies()[pinning.ATTESTATION], evidence)


PATCHES: list[tuple[str, tuple[str, ...], Any]] = [
    ("1.9", ("tcb_verification", "tcb_status"), "OutOfDate"),
    ("1.9", ("tcb_verification", "collateral_expired"), True),
    ("1.9", ("tcb_verification", "advisory_ids"), "INTEL-SA-00837"),
    ("upstream", ("tcb_status",), "OutOfDate"),
    ("upstream", ("collateral_expiration_status",), "1"),
    ("upstream", ("advisory_ids",), ["INTEL-SA-00837"]),
]


@pytest.mark.parametrize(("version", "place", "value"), PATCHES)
def test_an_unpatched_platform_is_refused_unless_tolerated(
    version: str, place: tuple[str, ...], value: Any
) -> None:
    judge, claims = VERSIONS[version]
    evidence = made.changed(claims(), ("tdx", *place), value)
    assert not judge(policies()[pinning.ATTESTATION], evidence)
    tolerant = policies(tcb_statuses=("UpToDate", "OutOfDate"), advisories=("INTEL-SA-00837",))[
        pinning.ATTESTATION
    ]
    tolerable = "collateral" not in place[-1]
    assert judge(tolerant, evidence) is tolerable


@pytest.mark.parametrize("version", ["1.5 EAR", "1.5 Simple"])
def test_a_server_that_hides_the_platforms_state_affirms_only_where_that_was_said(
    version: str,
) -> None:
    judge, claims = VERSIONS[version]
    events, registers = pins.measured([("m", json.dumps(made.attested()).encode())])
    strict = pinning.write(pins.Pins(events, registers, (RESOURCE,)))
    assert not judge(strict[pinning.ATTESTATION], claims())
    for state in ("1.9", "upstream"):
        other, evidence = VERSIONS[state]
        assert other(strict[pinning.ATTESTATION], evidence())


def test_a_state_that_is_hidden_later_is_not_taken_for_an_old_server() -> None:
    strict = pinning.write(
        pins.Pins(*pins.measured([("m", json.dumps(made.attested()).encode())]), (RESOURCE,))
    )
    evidence = made.changed(made.fork(), ("tdx", "tcb_verification"), None)
    assert not ear_forks(strict[pinning.ATTESTATION], evidence)


@pytest.mark.parametrize("status", ["warning", "contraindicated", "none"])
def test_a_verdict_that_does_not_affirm_releases_nothing(status: str) -> None:
    policy = policies()[pinning.RESOURCE]
    assert not release(policy, made.ear(made.fork(), status=status), path(RESOURCE))


@pytest.mark.parametrize(
    "data",
    [
        {"plugin": "pkcs11", "resource-path": RESOURCE.split("/"), "query": {}},
        {"plugin": "resource", "resource-path": ["x", *RESOURCE.split("/")], "query": {}},
        {"resource-path": f"pkcs11/{RESOURCE}"},
        {"resource-path": f"resource/x/{RESOURCE}"},
        {"resource-path": f"{RESOURCE}/x"},
        {"resource-path": None},
        {},
    ],
)
def test_what_is_no_resource_is_not_released_by_a_resources_name(data: dict[str, Any]) -> None:
    policy = policies()[pinning.RESOURCE]
    claims = token("upstream", made.upstream())
    for good in (path(RESOURCE), path(RESOURCE, array=True), {"resource-path": f"/{RESOURCE}"}):
        assert release(policy, claims, good)
    assert not release(policy, claims, data)


def test_gpus_that_are_wanted_must_be_there_and_affirmed() -> None:
    policy = policies(gpus=1)[pinning.RESOURCE]
    data = path(RESOURCE, array=True)
    claims = made.ear(made.upstream())
    assert not release(policy, claims, data)
    gpu = {"ear.status": "affirming", "ear.appraisal-policy-id": "default"}
    claims["submods"]["gpu0"] = gpu
    assert release(policy, claims, data)
    claims["submods"]["gpu0"] = {**gpu, "ear.status": "warning"}
    assert not release(policy, claims, data)
    assert not release(policy, made.simple_token(made.simple()), path(RESOURCE))


def test_sample_evidence_is_affirmed_only_where_it_was_allowed() -> None:
    workload = measurement()
    ours = {
        "sample": {
            "svn": "1",
            "measure_register": workload.register().hex(),
            "events": {entry.name: entry.content_digest.hex() for entry in workload.entries},
        }
    }
    digests = workload.event_reference_values()
    log = [
        {
            "type_name": "EV_EVENT_TAG",
            "index": 1,
            "digests": [{"alg": "SHA-256", "digest": digests[f"crag.{entry.name}.event"][0]}],
        }
        for entry in workload.entries
    ]
    forks = {"sample": {"svn": "1", "cc_eventlog": {"uefi_event_logs": log}}}
    for evidence in (ours, forks):
        assert not ear_forks(policies()[pinning.ATTESTATION], evidence)
        assert ear_forks(policies(allow_sample=True)[pinning.ATTESTATION], evidence)
        assert not ear_forks(
            policies(allow_sample=True)[pinning.ATTESTATION], {**evidence, "tdx": {}}
        )


@vectors.needed
def test_the_recorded_log_of_a_real_machine_is_read_alike() -> None:
    recorded = json.loads(vectors.data("eventlog/CCEL_AAEL_alibabacloud_out.json"))
    evidence = made.fork(recorded["uefi_event_logs"])
    assert ear_forks(policies()[pinning.ATTESTATION], evidence)
    without = made.changed(evidence, ("tdx", "uefi_event_logs"), recorded["uefi_event_logs"])
    assert not ear_forks(policies()[pinning.ATTESTATION], without)


def test_two_measurements_are_accepted_alike() -> None:
    second = {**made.attested(), "reference_values": measurement("two").reference_values()}
    files = [(str(n), json.dumps(one).encode()) for n, one in enumerate((made.attested(), second))]
    events, registers = pins.measured(files)
    written = pinning.write(pins.Pins(events, registers, accept_unknown_tcb=True))
    assert set(written) == {pinning.ATTESTATION}
    for workload in (measurement(), measurement("two")):
        assert ear_forks(written[pinning.ATTESTATION], made.old(workload))
    assert not ear_forks(written[pinning.ATTESTATION], made.old(measurement("three")))


OTHER_TD = "12" * 48


def workload(software: str, setting: int) -> Measurement:
    return Measurement(
        [
            Event("software", {"format": "test", "name": software}),
            Event("model", {"format": "test", "files": []}),
            Event("configuration", {"format": "test", "settings": {"k": setting}}),
        ]
    )


def shown(version: str, made_of: Measurement, mr_td: str = "11" * 48) -> dict[str, Any]:
    """The claims of a TD that runs a workload."""
    if version == "1.5 EAR":
        evidence = made.old(made_of)
    else:
        log = made.tagged(made_of, made.RECORDED_FORM)
        evidence = made.changed(VERSIONS[version][1](), ("tdx", "uefi_event_logs"), log)
    return made.changed(evidence, ("tdx", "quote", "body", "mr_td"), mr_td)


@pytest.mark.parametrize("version", ["1.5 EAR", "1.9", "upstream"])
def test_of_two_measurements_the_parts_do_not_mix(version: str) -> None:
    first, second = workload("one", 5), workload("two", 6)
    files = [
        (
            name,
            json.dumps(
                {
                    "tee": "tdx",
                    "reference_values": found.reference_values(),
                    "evidence": Td(found, mr_td=bytes.fromhex(mr_td)).evidence(b"\x01" * 48),
                }
            ).encode(),
        )
        for name, found, mr_td in (("a", first, "11" * 48), ("b", second, OTHER_TD))
    ]
    whole = pins.Pins(
        *pins.measured(files), (RESOURCE,), accept_unknown_tcb=True, parts=pins.parts(files)
    )
    assert pins.read(json.dumps(whole.as_json()).encode()) == whole
    written = pinning.write(whole)
    judge = VERSIONS[version][0]
    data = path(RESOURCE, array=version == "upstream")

    def accepted(evidence: dict[str, Any]) -> set[bool]:
        verdict = judge(written[pinning.ATTESTATION], evidence)
        return {verdict, release(written[pinning.RESOURCE], token(version, evidence), data)}

    assert accepted(shown(version, first)) == {True}
    assert accepted(shown(version, second, OTHER_TD)) == {True}
    for mixed in (
        shown(version, workload("one", 6)),
        shown(version, workload("two", 5)),
        shown(version, workload("two", 5), OTHER_TD),
        shown(version, first, OTHER_TD),
        shown(version, second),
    ):
        assert accepted(mixed) == {False}


def test_a_part_has_no_values_of_its_own() -> None:
    events, registers = pins.measured([("m", json.dumps(made.attested()).encode())])
    for part in (
        pins.Measured({**events, "software": ["ab" * 32]}, registers),
        pins.Measured({"software": events["software"]}, registers),
        pins.Measured(events, {**registers, "mr_td": ["12" * 48]}),
        pins.Measured(events, {"mr_td": registers["mr_td"]}),
    ):
        with pytest.raises(BadInput):
            pins.Pins(events, registers, parts=(part,))


def test_a_debug_td_and_broken_measurements_are_not_pinned() -> None:
    entered = Td(measurement(), attributes=1 << 28 | 1).evidence(b"1")
    debug = {**made.attested(), "evidence": entered}
    broken: list[Any] = [
        debug,
        {**made.attested(), "evidence": {"quote": "AAAA"}},
        {**made.attested(), "reference_values": {}},
        [],
    ]
    for file in broken:
        with pytest.raises(BadInput):
            pins.measured([("attest.json", json.dumps(file).encode())])
    sample = {**made.attested(), "tee": "sample"}
    events, registers = pins.measured([("attest.json", json.dumps(sample).encode())])
    with pytest.raises(BadInput, match="software-made"):
        pins.Pins(events, registers)


@pytest.mark.parametrize(
    "change",
    [
        {"tcb_statuses": ('UpToDate"} evil := {"',)},
        {"tcb_statuses": ("Revoked",)},
        {"tcb_statuses": ()},
        {"advisories": ("x y",)},
    ],
)
def test_nothing_that_is_no_value_gets_into_a_policys_text(change: dict[str, Any]) -> None:
    with pytest.raises(BadInput):
        pinned(**change)


def test_pins_are_read_as_they_were_written() -> None:
    written = pinned(gpus=2, advisories=("INTEL-SA-00837",))
    assert pins.read(json.dumps(written.as_json()).encode()) == written
    for broken in (b"{}", b"[]", b"x", json.dumps({**written.as_json(), "more": 1}).encode()):
        with pytest.raises(BadInput):
            pins.read(broken)
