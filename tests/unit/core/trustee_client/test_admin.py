"""Administration of every kind of Trustee, each in its own manner."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from crag_core.errors import CragError, NotSupported
from crag_core.trustee import pinning, pins
from crag_core.trustee.admin import AdminClient
from crag_core.trustee.pin_command import Written
from support import trustee_claims
from support.foreign_trustee import ForeignTrustee
from support.trustee import start

FOREIGN = ("openanolis-1.5", "openanolis-1.9", "upstream")
POLICY = "package policy\nimport rego.v1\ndefault allow := false\n"


@pytest.fixture(params=FOREIGN)
def there(request: pytest.FixtureRequest) -> Iterator[ForeignTrustee]:
    with ForeignTrustee(request.param) as made:
        yield made


def client(there: ForeignTrustee) -> AdminClient:
    return AdminClient(there.address, there.admin_pem)


def test_each_kind_is_recognised_by_asking(there: ForeignTrustee, tmp_path: Path) -> None:
    with client(there) as admin:
        assert admin.server.kind == there.kind
    with AdminClient(there.url, there.admin_pem) as admin:
        assert admin.server.kind == there.kind
    ours = start(tmp_path / "trustee")
    try:
        with ours.admin() as admin:
            assert admin.server.kind == "crag"
    finally:
        ours.trustee.stop()


def test_what_is_said_is_not_asked(there: ForeignTrustee) -> None:
    with AdminClient(there.address, there.admin_pem, kind=there.kind) as admin:
        assert admin.server.kind == there.kind
    assert there.seen == []


def test_resources_are_set_listed_and_deleted(there: ForeignTrustee) -> None:
    with client(there) as admin:
        admin.set_resource("default/crag/x", b"\x00key")
        assert there.resources == {"default/crag/x": b"\x00key"}
        if there.kind == "upstream":
            with pytest.raises(NotSupported, match="has no"):
                admin.list_resources()
        else:
            assert admin.list_resources() == ["default/crag/x"]
        admin.delete_resource("default/crag/x")
        with pytest.raises(CragError) as missing:
            admin.delete_resource("default/crag/x")
        assert missing.value.code == "resource-missing"


@pytest.mark.parametrize("name", ["a/b/\x1b[31mc", "../b/c", "a//c"])
def test_a_list_of_what_are_no_resources_is_no_trustees(name: str) -> None:
    with ForeignTrustee("openanolis-1.9") as there, client(there) as admin:
        there.resources[name] = b""
        with pytest.raises(CragError) as refused:
            admin.list_resources()
    assert refused.value.code == "not-a-trustee"


def test_policies_are_set_under_the_id_that_each_reads(there: ForeignTrustee) -> None:
    with client(there) as admin:
        admin.set_resource_policy(POLICY)
        admin.set_attestation_policy("default", POLICY)
        assert there.resource_policy == POLICY
        name = "default_cpu" if there.kind == "upstream" else "default"
        assert there.attestation == {name: POLICY}
        if there.kind == "upstream":
            for ask in (admin.get_resource_policy, admin.get_attestation_policy):
                with pytest.raises(NotSupported):
                    ask()
        else:
            assert admin.get_resource_policy() == POLICY
            assert admin.get_attestation_policy() == POLICY
        with pytest.raises(NotSupported):
            admin.set_resource_policy(POLICY, "default")


def test_reference_values_replace_those_of_the_same_name(there: ForeignTrustee) -> None:
    with client(there) as admin:
        admin.set_reference_values({"a": ["1"], "b": ["2"]})
        admin.set_reference_values({"a": ["3"]})
        names = ["a", "b"]
        assert admin.get_reference_values(names) == {"a": ["3"], "b": ["2"]}
        admin.set_reference_values({"a": []})
        found = admin.get_reference_values(names)
        assert found.get("a", []) == []
        assert found["b"] == ["2"]
        assert "a" not in admin.get_reference_values(["unknown"]) or there.kind != "upstream"


def test_attestation_policies_are_listed_and_deleted(there: ForeignTrustee) -> None:
    with client(there) as admin:
        for policy_id in ("default", "bank"):
            admin.set_attestation_policy(policy_id, POLICY)
        if there.kind == "upstream":
            with pytest.raises(NotSupported):
                admin.list_attestation_policies()
            with pytest.raises(NotSupported):
                admin.delete_attestation_policy("bank")
            return
        assert set(admin.list_attestation_policies()) == {"bank", "default"}
        admin.delete_attestation_policy("bank")
        for kept in ("default", "bank", "{base}/../resource-policy"):
            with pytest.raises(CragError):
                admin.delete_attestation_policy(kept)
        assert set(admin.list_attestation_policies()) == {"default"}


def test_our_own_policies_are_listed_and_deleted(tmp_path: Path) -> None:
    ours = start(tmp_path / "trustee")
    try:
        with ours.admin() as admin:
            admin.set_attestation_policy("bank", "package policy\nexecutables := 3\n")
            assert set(admin.list_attestation_policies()) == {"bank", "default"}
            admin.delete_attestation_policy("bank")
            assert set(admin.list_attestation_policies()) == {"default"}
            with pytest.raises(CragError, match="default"):
                admin.delete_attestation_policy("default")
    finally:
        ours.trustee.stop()


@pytest.mark.parametrize("said", [None, "openanolis-1.9"])
def test_reference_values_of_1_9_are_reached_at_its_key_broker_too(said: str | None) -> None:
    with ForeignTrustee("openanolis-1.9", gateway=False) as there:
        with AdminClient(there.url, there.admin_pem, kind=said) as admin:
            assert admin.server.kind == there.kind
            admin.set_reference_values({"a": ["1"]})
            assert admin.get_reference_values() == {"a": ["1"]}
        assert ("POST", "/kbs/v0/rvps/register") in there.seen


@pytest.mark.parametrize("gateway", [True, False])
def test_the_first_of_the_current_forks_are_not_taken_for_upstreams(gateway: bool) -> None:
    with (
        ForeignTrustee("openanolis-1.9", gateway=gateway, early=True) as there,
        AdminClient(there.url, there.admin_pem) as admin,
    ):
        assert admin.server.kind == "openanolis-1.9"
        admin.set_attestation_policy("default", POLICY)
        assert there.attestation == {"default": POLICY}
        if gateway:
            admin.set_reference_values({"a": ["1"]})
            assert there.references == {"a": ["1"]}
        else:
            with pytest.raises(CragError, match="nothing at that address"):
                admin.set_reference_values({"a": ["1"]})


def test_another_key_is_refused(there: ForeignTrustee) -> None:
    with (
        ForeignTrustee(there.kind) as stranger,
        AdminClient(there.address, stranger.admin_pem) as admin,
        pytest.raises(CragError) as refused,
    ):
        admin.set_resource("default/crag/x", b"key")
    assert refused.value.code == "admin-refused"
    assert there.resources == {}


def test_upstream_gets_the_role_and_issuer_that_it_wants() -> None:
    with ForeignTrustee("upstream") as there:
        with (
            AdminClient(there.address, there.admin_pem, claims={"role": "reader"}) as admin,
            pytest.raises(CragError) as refused,
        ):
            admin.set_resource("default/crag/x", b"key")
        assert refused.value.code == "admin-refused"
        with AdminClient(there.address, there.admin_pem, claims={"iss": "crag"}) as admin:
            admin.set_resource("default/crag/x", b"key")


def test_a_server_that_is_no_trustee_is_named_as_such() -> None:
    with (
        ForeignTrustee("upstream") as there,
        AdminClient(f"{there.url}/elsewhere", there.admin_pem) as admin,
        pytest.raises(CragError) as refused,
    ):
        admin.list_resources()
    assert refused.value.code == "not-a-trustee"


RECORDS = [
    {"session_id": "s1", "repository": "default", "type": "crag", "tag": "k", "method": "GET"}
    | {"status": 200, "successful": True, "timestamp": "2026-11-21T01:02:03Z"}
    | {"client_ip": "10.0.0.7", "instance_id": "i-1\x1b[31m"},
    {"session_id": "s2", "repository": "default", "type": "crag", "tag": "k", "method": "GET"}
    | {"status": 403, "successful": False, "timestamp": "2026-11-21T01:02:00Z"},
    {"session_id": "s1", "repository": "default", "type": "crag", "tag": "k", "method": "POST"}
    | {"status": 200, "successful": True, "timestamp": "2026-11-21T01:01:00Z"},
]


def test_the_gateways_log_is_joined_by_session_and_safe_to_show(there: ForeignTrustee) -> None:
    if there.kind == "upstream":
        with client(there) as admin, pytest.raises(NotSupported):
            admin.key_releases()
        return
    evidence = trustee_claims.old() if there.kind == "openanolis-1.5" else trustee_claims.fork()
    cpu = "cpu" if there.kind == "openanolis-1.5" else "cpu0"
    claims = json.dumps(trustee_claims.ear(evidence, cpu))
    there.audit = {
        "resources": RECORDS,
        "attestation": [{"session_id": "s1", "successful": True, "claims": claims}],
    }
    with client(there) as admin:
        released, refused = admin.key_releases()
    assert (released.released, released.resource) == (True, "default/crag/k")
    assert released.measurement["mr_td"] == "11" * 48
    assert (released.tee, released.insecure, released.policy["id"]) == ("tdx", False, "default")
    assert released.who == {
        "client_ip": "10.0.0.7",
        "instance_id": "i-1 [31m",
        "session_id": "s1",
    }
    assert (refused.released, refused.reason, refused.tee) == (False, "status 403", "")
    there.audit["resources"] = [*RECORDS[1:], RECORDS[0]]
    with client(there) as admin:
        assert admin.key_releases(1, released=True) == [released]
        assert admin.key_releases(1, resource="default/crag/k") == [refused]
        assert admin.key_releases(resource="default/crag/other") == []
    there.audit = {"resources": None, "attestation": None}
    with client(there) as admin:
        assert admin.key_releases() == []


def test_simple_tokens_in_the_gateways_log_are_read() -> None:
    with ForeignTrustee("openanolis-1.5") as there:
        flat = trustee_claims.simple_token(trustee_claims.simple())
        attestation = {"session_id": "s1", "successful": True, "claims": json.dumps(flat)}
        there.audit = {"resources": RECORDS[:1], "attestation": [attestation]}
        with client(there) as admin:
            (release,) = admin.key_releases()
    assert release.measurement["rtmr_0"] == trustee_claims.body()["rtmr_0"]
    assert release.tee == "tdx"


def written(**changes: object) -> Written:
    files = [("m", json.dumps(trustee_claims.attested()).encode())]
    made = pins.Pins(*pins.measured(files), ("default/crag/x",), **changes)  # type: ignore[arg-type]
    return Written(made, pinning.write(made))


def test_pins_are_put_in_force_and_read_back(there: ForeignTrustee) -> None:
    folder = written(accept_unknown_tcb=True)
    with client(there) as admin:
        unseen = folder.carry_out(admin)
    assert bool(unseen) is (there.kind == "upstream")
    assert there.resource_policy == folder.policies[pinning.RESOURCE]
    assert pinning.write(folder.pins)[pinning.ATTESTATION] in there.attestation.values()
    assert there.references["tdx.mr_td"] == ["11" * 48]


def test_what_a_server_cannot_hold_to_is_refused_before_anything_changes(
    there: ForeignTrustee,
) -> None:
    with client(there) as admin:
        if there.kind == "openanolis-1.5":
            with pytest.raises(NotSupported, match="patched"):
                written().carry_out(admin)
        if there.kind != "upstream":
            with pytest.raises(NotSupported, match="GPU"):
                written(gpus=1, accept_unknown_tcb=True).carry_out(admin)
            assert there.resource_policy == ""
            assert there.references == {}
        else:
            written(gpus=1).carry_out(admin)
            assert set(there.attestation) == {"default_cpu", "default_gpu"}
