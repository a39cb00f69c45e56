"""An event log that tells another story than the registers."""

from __future__ import annotations

import pytest

from crag_core.attestation.policy import EventPolicy, Policy, RequiredEvent
from support import logs
from support.hardware import failed, intel, judge

BOOT = [
    logs.event(1, logs.IPL, b"firmware"),
    logs.event(2, logs.IPL, b"loader"),
    logs.event(1, logs.NO_ACTION, b"a remark", bytes(48)),
    logs.event(3, logs.IPL, b"kernel"),
    logs.aael("crag software sha256:" + "aa" * 32),
    logs.aael("crag model sha256:" + "bb" * 32),
]
QUOTE = intel().quote(rtmrs=logs.rtmrs(BOOT))


def test_the_log_that_was_measured_is_accepted() -> None:
    verdict = judge(QUOTE, event_log=logs.ccel(BOOT))
    assert verdict.verdict == "affirming"
    assert any(check.name == "event-log" for check in verdict.checks)


@pytest.mark.parametrize("place", [0, 1, 3, 4, 5])
def test_an_event_log_that_does_not_replay_is_refused(place: int) -> None:
    assert failed(judge(QUOTE, event_log=logs.ccel(BOOT[:place] + BOOT[place + 1 :]))) == [
        "event-log"
    ]


def test_a_log_with_one_event_more_is_refused() -> None:
    extra = [*BOOT, logs.aael("crag software sha256:" + "cc" * 32)]
    assert failed(judge(QUOTE, event_log=logs.ccel(extra))) == ["event-log"]


def test_events_in_another_order_are_refused() -> None:
    swapped = [*BOOT[:4], BOOT[5], BOOT[4]]
    assert failed(judge(QUOTE, event_log=logs.ccel(swapped))) == ["event-log"]


def test_events_in_another_register_are_refused_and_both_registers_named() -> None:
    moved = [logs.event(2, logs.IPL, b"firmware"), *BOOT[1:]]
    verdict = judge(QUOTE, event_log=logs.ccel(moved))
    assert verdict.failure is not None
    assert "RTMR0" in verdict.failure.detail and "RTMR1" in verdict.failure.detail


def test_a_digest_that_is_hidden_as_a_remark_is_not_extended() -> None:
    hidden = [(index, logs.NO_ACTION, data, digest) for index, _, data, digest in BOOT]
    assert failed(judge(QUOTE, event_log=logs.ccel(hidden))) == ["event-log"]


def test_a_register_that_the_log_does_not_mention_must_be_zero() -> None:
    assert failed(judge(QUOTE, event_log=logs.ccel([BOOT[0]]))) == ["event-log"]


def test_an_event_whose_text_was_changed_under_its_digest_is_refused() -> None:
    """The digest replays; only the text that a policy would read is a lie."""
    index, kind, _, digest = BOOT[4]
    _, _, lie, _ = logs.aael("crag software sha256:" + "dd" * 32)
    forged = [*BOOT[:4], (index, kind, lie, digest), BOOT[5]]
    assert logs.rtmrs(forged) == logs.rtmrs(BOOT)
    verdict = judge(QUOTE, event_log=logs.ccel(forged))
    assert failed(verdict) == ["event-log"]


def test_a_text_log_that_begins_in_the_middle_is_refused() -> None:
    log, register = logs.text_log(["crag software sha256:" + "aa" * 32])
    quote = intel().quote(rtmrs=(bytes(48),) * 3 + (register,))
    assert judge(quote, event_log=log).verdict == "affirming"
    started = log.replace(b"0" * 96, b"1" * 96)
    assert failed(judge(quote, event_log=started)) == ["event-log"]


def test_a_text_log_is_not_enough_where_the_policy_wants_every_register() -> None:
    log, register = logs.text_log(["a b c"])
    quote = intel().quote(rtmrs=(bytes(48),) * 3 + (register,))
    strict = Policy(events=EventPolicy(required=True))
    assert failed(judge(quote, event_log=log, policy=strict)) == ["event-log"]


@pytest.mark.parametrize("cut", [1, 7, 31, 32, 60, 65, 66, 100, 130, 200])
def test_a_truncated_log_is_refused(cut: int) -> None:
    assert failed(judge(QUOTE, event_log=logs.ccel(BOOT, end=b"")[:cut])) == ["event-log"]


def test_something_behind_the_end_of_the_log_is_refused() -> None:
    hidden = logs.ccel(BOOT) + logs.ccel([BOOT[0]])
    assert failed(judge(QUOTE, event_log=hidden)) == ["event-log"]


def test_a_log_without_a_quote_proves_nothing() -> None:
    assert "event-log" in failed(judge(b"", event_log=logs.ccel(BOOT)))


def test_a_required_log_must_be_there() -> None:
    strict = Policy(events=EventPolicy(required=True))
    assert failed(judge(QUOTE, policy=strict)) == ["event-log"]
    wanted = Policy(events=EventPolicy(contains=(RequiredEvent("a", "b", "c"),)))
    assert failed(judge(QUOTE, policy=wanted)) == ["event-log"]
