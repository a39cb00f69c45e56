"""Our clients against our local Trustee: keys go to what was measured, and to nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from crag_core.attestation import sample
from crag_core.attestation.canonical import report_data
from crag_core.attestation.ear import verify_ear
from crag_core.attestation.evidence import SampleSource
from crag_core.errors import AttestationRejected, CragError, PolicyDenied
from crag_core.trustee.admin_token import AdminToken
from crag_core.trustee.as_client import AsClient
from crag_core.trustee.kbs import KbsClient
from support import trustee
from support.trustee import RESOURCE, SECRET, Place

URI = f"kbs:///{RESOURCE}"
WORKLOAD = trustee.measurement()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    running = trustee.start(tmp_path / "trustee")
    running.allow(WORKLOAD)
    yield running
    running.trustee.stop()


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Place]:
    running = trustee.start(tmp_path / "strict", accept_sample=False)
    running.allow(WORKLOAD)
    yield running
    running.trustee.stop()


def _fetch(url: str, software: str = "one", uri: str = URI) -> bytes:
    with KbsClient(url, SampleSource(trustee.measurement(software))) as client:
        return client.fetch(uri)


def test_what_was_measured_gets_the_key(place: Place) -> None:
    assert _fetch(place.url) == SECRET
    assert _fetch(place.url.removesuffix("/api")) == SECRET


def test_changed_software_gets_no_key(place: Place) -> None:
    with pytest.raises((PolicyDenied, AttestationRejected)) as caught:
        _fetch(place.url, software="two")
    assert caught.value.exit_code in (10, 11)


def test_a_resource_that_the_policy_does_not_name_stays_there(place: Place) -> None:
    with place.admin() as admin:
        admin.set_resource("default/crag/other", b"x")
    with pytest.raises(PolicyDenied):
        _fetch(place.url, uri="kbs:///default/crag/other")


def test_a_trustee_that_was_not_told_to_takes_no_software_evidence(strict: Place) -> None:
    with pytest.raises(CragError) as caught:
        _fetch(strict.url)
    assert isinstance(caught.value, AttestationRejected)


def _token(place: Place, software: str = "one") -> tuple[str, dict[str, str]]:
    source = SampleSource(trustee.measurement(software))
    runtime = {"nonce": secrets.token_hex(16)}
    with AsClient(place.url) as client:
        evidence = source.evidence(report_data(runtime))
        return client.attest("sample", evidence, runtime, ["default"]), runtime


def test_a_verdict_verifies_against_the_trustees_certificate(place: Place) -> None:
    token, runtime = _token(place)
    with AsClient(place.url) as client:
        anchor = client.certificate()
    found = verify_ear(token, anchor_pem=anchor, policy_id="default")
    assert found.runtime_data == runtime
    assert found.insecure
    measured = {f"crag.{entry.name}": entry.content_digest.hex() for entry in WORKLOAD.entries}
    assert measured.items() <= found.measurements.items()
    assert found.measurements["measure_register"] == WORKLOAD.register().hex()


def test_a_verdict_of_another_trustee_is_refused(place: Place, strict: Place) -> None:
    token, _ = _token(place)
    with AsClient(strict.url) as client, pytest.raises(AttestationRejected) as caught:
        verify_ear(token, anchor_pem=client.certificate(), policy_id="default")
    assert caught.value.details["rule"] == "path"


def test_changed_software_gets_no_affirming_verdict(place: Place) -> None:
    token, _ = _token(place, software="two")
    with AsClient(place.url) as client, pytest.raises(AttestationRejected) as caught:
        verify_ear(token, anchor_pem=client.certificate(), policy_id="default")
    assert caught.value.details["rule"] == "status"
    assert "executables" in caught.value.message


def test_evidence_of_another_session_gets_no_verdict(place: Place) -> None:
    evidence = sample.build(WORKLOAD, report_data({"nonce": "old"}))
    with AsClient(place.url) as client, pytest.raises(AttestationRejected, match="bound"):
        client.attest("sample", evidence, {"nonce": "new"})


def test_a_challenge_is_part_of_what_is_bound(place: Place) -> None:
    with AsClient(place.url) as client:
        runtime = {"challenge_token": client.challenge().token}
        evidence = sample.build(WORKLOAD, report_data(runtime))
        token = client.attest("sample", evidence, runtime)
        found = verify_ear(token, anchor_pem=client.certificate(), policy_id="default")
    assert found.runtime_data == runtime


def test_the_token_of_the_attestation_stands_in_for_its_session(place: Place) -> None:
    """As behind a balancer, where another key broker of the same Trustee answers."""
    with KbsClient(place.url, SampleSource(WORKLOAD)) as client:
        assert client.fetch(f"kbs:///{trustee.RESOURCE}") == trustee.SECRET
        session = client._session
        assert session is not None
        client._session = replace(session, cookie="kbs-session-id=" + "0" * 32)
        assert client.fetch(f"kbs:///{trustee.RESOURCE}") == trustee.SECRET
        assert client._session.key is session.key  # nothing was attested anew


def test_the_attestation_services_policies_are_the_admins_to_read_and_write(strict: Place) -> None:
    with AsClient(strict.url) as nobody, pytest.raises(CragError, match="administrator"):
        nobody.policies()
    admin = AdminToken((strict.folder / "admin.key").read_bytes())
    with AsClient(strict.url, admin=admin) as client:
        rego = client.policy()
        assert rego.lstrip().startswith(("package policy", "#"))
        client.set_policy("mine", rego)
        assert client.policies()["mine"] == client.policies()["default"]
        with pytest.raises(CragError):
            client.set_policy("mine", "no rego")
        assert client.policy("mine") == rego
        with pytest.raises(CragError):
            client.policy("absent")
