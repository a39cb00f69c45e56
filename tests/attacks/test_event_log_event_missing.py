"""The register is right and the log replays; the event that the policy wants is not in it."""

from __future__ import annotations

import pytest

from crag_core.attestation.policy import EventPolicy, Policy, RequiredEvent
from support import logs
from support.hardware import failed, intel, judge

SOFTWARE, MODEL = "sha256:" + "aa" * 32, "sha256:" + "bb" * 32
WANTED = (
    RequiredEvent("crag", "software", SOFTWARE),
    RequiredEvent("crag", "model", MODEL),
)
POLICY = Policy(events=EventPolicy(contains=WANTED, exclusive=frozenset({"crag"})))


def measured(*lines: str) -> dict[str, bytes]:
    events = [logs.aael(line) for line in lines]
    return {"quote": intel().quote(rtmrs=logs.rtmrs(events)), "event_log": logs.ccel(events)}


def test_a_td_that_measured_what_the_policy_wants_is_accepted() -> None:
    found = measured("other thing x", f"crag software {SOFTWARE}", f"crag model {MODEL}")
    assert judge(**found, policy=POLICY).verdict == "affirming"


def test_rtmr_right_but_event_missing_is_refused_and_named() -> None:
    verdict = judge(**measured(f"crag software {SOFTWARE}"), policy=POLICY)
    assert "event crag/model" in failed(verdict)
    assert "event-log" not in failed(verdict)


def test_an_empty_log_of_zero_registers_is_refused() -> None:
    verdict = judge(**measured(), policy=POLICY)
    assert "event crag/software" in failed(verdict)


def test_another_content_is_refused() -> None:
    other = "sha256:" + "cc" * 32
    verdict = judge(**measured(f"crag software {other}", f"crag model {MODEL}"), policy=POLICY)
    assert "event crag/software" in failed(verdict)


def test_a_second_software_beside_the_right_one_is_refused() -> None:
    lines = [f"crag software {SOFTWARE}", f"crag model {MODEL}", "crag software sha256:evil"]
    assert failed(judge(**measured(*lines), policy=POLICY)) == ["events of crag"]


@pytest.mark.parametrize("index", [1, 2, 3])
def test_the_event_in_another_register_does_not_count(index: int) -> None:
    events = [
        logs.aael(f"crag software {SOFTWARE}", index),
        logs.aael(f"crag model {MODEL}", index),
    ]
    quote = intel().quote(rtmrs=logs.rtmrs(events))
    verdict = judge(quote, event_log=logs.ccel(events), policy=POLICY)
    assert "event crag/software" in failed(verdict)


def test_the_event_as_another_type_does_not_count() -> None:
    _, _, data, _ = logs.aael(f"crag software {SOFTWARE}")
    events = [logs.event(4, logs.IPL, data), logs.aael(f"crag model {MODEL}")]
    quote = intel().quote(rtmrs=logs.rtmrs(events))
    verdict = judge(quote, event_log=logs.ccel(events), policy=POLICY)
    assert "event crag/software" in failed(verdict)


def test_a_text_log_is_judged_alike() -> None:
    log, register = logs.text_log([f"crag software {SOFTWARE}", f"crag model {MODEL}"])
    quote = intel().quote(rtmrs=(bytes(48),) * 3 + (register,))
    assert judge(quote, event_log=log, policy=POLICY).verdict == "affirming"
    log, register = logs.text_log([f"crag software {SOFTWARE}"])
    quote = intel().quote(rtmrs=(bytes(48),) * 3 + (register,))
    assert "event crag/model" in failed(judge(quote, event_log=log, policy=POLICY))
