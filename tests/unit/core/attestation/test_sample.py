from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.attestation import eventlog, sample
from crag_core.attestation.eventlog import LogEntry
from crag_core.attestation.measurement import Event, Measurement
from crag_core.errors import AttestationRejected, BadInput

BOUND = bytes(range(48))
MEASURED = Measurement([Event("software", {"a": 1}), Event("model", {"b": 2})])


def _evidence(**changes: Any) -> dict[str, Any]:
    return sample.build(MEASURED, BOUND) | changes


def test_evidence_verifies_to_the_measured_digests() -> None:
    claims = sample.verify(_evidence(), BOUND)
    assert claims["measure_register"] == MEASURED.register().hex()
    assert {f"crag.{k}": [v] for k, v in claims["events"].items()} == MEASURED.reference_values()


def test_evidence_has_the_form_that_tng_reads() -> None:
    evidence = _evidence()
    assert base64.b64decode(evidence["report_data"]) == BOUND
    assert len(bytes.fromhex(evidence["measure_register"])) == 32
    assert evidence["svn"] == "1"


def test_evidence_for_another_session_is_refused() -> None:
    with pytest.raises(AttestationRejected) as refused:
        sample.verify(_evidence(), bytes(48))
    assert refused.value.code == "binding-mismatch"


@pytest.mark.parametrize("expected", [b"", BOUND[:32], BOUND + bytes(16)])
def test_report_data_is_compared_whole(expected: bytes) -> None:
    with pytest.raises(AttestationRejected):
        sample.verify(_evidence(), expected)


def test_a_register_that_is_not_the_logs_is_refused() -> None:
    other = Measurement([Event("software", {"a": 2})]).register().hex()
    with pytest.raises(AttestationRejected, match="does not replay"):
        sample.verify(_evidence(measure_register=other), BOUND)


def test_a_log_with_swapped_events_is_refused() -> None:
    swapped = eventlog.write(list(reversed(MEASURED.entries)))
    with pytest.raises(AttestationRejected, match="does not replay"):
        sample.verify(_evidence(cc_eventlog=base64.b64encode(swapped).decode()), BOUND)


def test_an_event_that_is_logged_twice_is_refused() -> None:
    log = eventlog.write([LogEntry("software", bytes(32)), LogEntry("software", b"\x01" * 32)])
    evidence = _evidence(
        cc_eventlog=base64.b64encode(log).decode(), measure_register=eventlog.replay(log).hex()
    )
    with pytest.raises(AttestationRejected, match="twice"):
        sample.verify(evidence, BOUND)


@pytest.mark.parametrize(
    "changes",
    [
        {"svn": "2"},
        {"svn": 1},
        {"cc_eventlog": None},
        {"cc_eventlog": "!!!"},
        {"report_data": "AA"},
        {"measure_register": None},
        {"extra": "1"},
        {"init_data": ""},
    ],
)
def test_a_malformed_member_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(AttestationRejected):
        sample.verify(_evidence(**changes), BOUND)


@pytest.mark.parametrize("member", ["svn", "report_data", "measure_register", "cc_eventlog"])
def test_a_missing_member_is_refused(member: str) -> None:
    evidence = _evidence()
    del evidence[member]
    with pytest.raises(AttestationRejected, match=member):
        sample.verify(evidence, BOUND)


def test_base64_has_one_form() -> None:
    evidence = _evidence()
    with pytest.raises(AttestationRejected):
        sample.verify(evidence | {"report_data": evidence["report_data"] + "\n"}, BOUND)


VALUES = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)


@given(
    st.dictionaries(
        st.sampled_from(["svn", "report_data", "measure_register", "cc_eventlog", "x"]), VALUES
    )
)
def test_arbitrary_objects_are_refused(evidence: dict[str, Any]) -> None:
    with pytest.raises(AttestationRejected):
        sample.verify(evidence, BOUND)


@pytest.mark.parametrize("evidence", [None, [], "x", {1: 2}])
def test_what_is_no_object_is_refused(evidence: Any) -> None:
    with pytest.raises(AttestationRejected):
        sample.verify(evidence, BOUND)


@pytest.mark.parametrize("length", [0, 65])
def test_report_data_that_evidence_cannot_carry_is_refused(length: int) -> None:
    with pytest.raises(BadInput):
        sample.build(MEASURED, bytes(length))
