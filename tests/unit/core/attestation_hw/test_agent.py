"""Evidence and measuring through an attestation agent's REST interface."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.attestation.agent import AgentSource, agent_url
from crag_core.attestation.agent_evidence import quote_of, read_json, replayed
from crag_core.attestation.evidence import MeasuringSource
from crag_core.attestation.own_events import OwnEvents
from crag_core.attestation.policy import EventPolicy, Policy, RequiredEvent
from crag_core.attestation.tdx_evidence import verify_tdx_evidence
from crag_core.attestation.verdict import Verdict
from crag_core.errors import (
    AttestationRejected,
    BadInput,
    CragError,
    NotSupported,
    Unreachable,
    UsageError,
)
from support import logs
from support.fake_agent import FakeAgent
from support.fake_intel import NOW
from support.hardware import anchors, intel
from support.td import gpu
from support.trustee import measurement

OWN = OwnEvents.of(measurement())
LINES = [f"crag {entry.name} sha256:{entry.content_digest.hex()}" for entry in OWN.entries]
DATA = b"\xf5" * 48


@pytest.fixture(params=[False, True], ids=["ccel", "text"])
def agent(request: pytest.FixtureRequest) -> Iterator[FakeAgent]:
    with FakeAgent(text=request.param) as running:
        yield running


@pytest.fixture
def modern() -> Iterator[FakeAgent]:
    with FakeAgent() as running:
        yield running


def judge(evidence: dict[str, Any]) -> Verdict:
    wanted = tuple(RequiredEvent(*line.split(" ", 2)) for line in LINES)
    policy = Policy(
        events=EventPolicy(required=True, contains=wanted, exclusive=frozenset({"crag"}))
    )
    return verify_tdx_evidence(
        evidence, DATA, intel().collateral(), NOW + 60, policy, anchors=anchors()
    )


def test_the_agent_measures_once_and_its_evidence_verifies(agent: FakeAgent) -> None:
    agent.lines.append("image pull sha256:" + "00" * 32)
    source: MeasuringSource = AgentSource(OWN, agent.url)
    assert source.measure() == 3
    assert source.measure() == 0
    assert agent.lines[1:] == LINES
    verdict = judge(source.evidence(DATA))
    assert verdict.verdict == "affirming", verdict.failure
    assert source.register == verdict.measurements["rtmr3"]
    assert source.tee == "tdx" and source.additional(DATA) is None


def test_a_measurement_that_was_cut_short_is_continued(agent: FakeAgent) -> None:
    agent.lines.append(LINES[0])
    assert AgentSource(OWN, agent.url).measure() == 2
    assert agent.lines == LINES


@pytest.mark.parametrize("failure", [500, -500])
def test_a_call_that_fails_is_judged_by_the_evidence_alone(agent: FakeAgent, failure: int) -> None:
    agent.failures = [0, failure, 0]
    assert AgentSource(OWN, agent.url).measure() == 3
    assert agent.lines == LINES


def test_an_agent_that_never_measures_is_named(modern: FakeAgent) -> None:
    modern.failures = [500] * 3
    with pytest.raises(CragError, match="answers 500") as caught:
        AgentSource(OWN, modern.url).measure()
    assert caught.value.code == "agent-refused" and modern.lines == []
    modern.measuring = False
    with pytest.raises(NotSupported, match="event log"):
        AgentSource(OWN, modern.url).measure()


def test_events_of_another_crag_are_left_alone(agent: FakeAgent) -> None:
    agent.lines.append("crag software sha256:" + "aa" * 32)
    with pytest.raises(AttestationRejected, match="another crag-provider"):
        AgentSource(OWN, agent.url).measure()
    assert len(agent.lines) == 1


def test_a_log_that_leaves_out_an_event_is_refused(agent: FakeAgent) -> None:
    AgentSource(OWN, agent.url).measure()
    agent.hidden = 1
    with pytest.raises(AttestationRejected, match="RTMR3"):
        AgentSource(OWN, agent.url).evidence(DATA)


def test_events_behind_ours_change_the_register_that_is_named(modern: FakeAgent) -> None:
    source = AgentSource(OWN, modern.url)
    source.measure()
    first = source.register
    modern.lines.append("image pull sha256:" + "00" * 32)
    verdict = judge(source.evidence(DATA))
    assert verdict.verdict == "affirming"
    assert source.register == verdict.measurements["rtmr3"] != first


def test_an_agent_that_takes_text_only_is_too_old() -> None:
    with FakeAgent(raw=True) as old, pytest.raises(NotSupported, match="something else"):
        AgentSource(OWN, old.url).evidence(DATA)


def test_an_agent_without_a_tee_is_not_taken() -> None:
    with FakeAgent(sample=True) as agent:
        assert not AgentSource(OWN, agent.url).answers()
        with pytest.raises(NotSupported, match="software"):
            AgentSource(OWN, agent.url).measure()


def test_whether_an_agent_answers(modern: FakeAgent) -> None:
    assert AgentSource(OWN, modern.url).answers()
    with FakeAgent(raw=True) as without_info:
        assert AgentSource(OWN, without_info.url).answers()
    assert not AgentSource(OWN, without_info.url).answers()
    with pytest.raises(Unreachable, match="agent"):
        AgentSource(OWN, without_info.url).measure()


def test_gpus_that_this_process_asks_stand_in_the_agents_place(modern: FakeAgent) -> None:
    modern.gpus = {"evidence_list": []}
    modern.additional = {"nvidia": {"device_evidence_list": []}}
    source = AgentSource(OWN, modern.url, gpus=lambda nonce: {"evidence_list": [gpu(nonce)]})
    source.measure()
    verdict = judge(source.evidence(DATA))
    assert verdict.verdict == "affirming" and verdict.gpu[0]["bound"] is True
    assert source.additional(DATA) is None
    plain = AgentSource(OWN, modern.url)
    assert plain.additional(DATA) == modern.additional and plain.additional(b"") is None
    assert plain.evidence(DATA)["gpu_evidence"] == modern.gpus


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quote": "*"}, "base64"),
        ({"quote": None}, "no quote"),
        ({"cc_eventlog": 7}, "base64"),
        ({"cc_eventlog": "AAAA"}, "event log"),
        ({"aa_eventlog": ["x"]}, "no text"),
        ({"cc_eventlog": None}, "RTMR3"),
    ],
)
def test_evidence_that_cannot_be_read_is_refused(
    modern: FakeAgent, change: dict[str, Any], why: str
) -> None:
    source = AgentSource(OWN, modern.url)
    source.measure()
    honest = modern.evidence
    modern.evidence = lambda data: {**honest(data), **change}  # type: ignore[method-assign]
    with pytest.raises(AttestationRejected, match=why):
        source.evidence(DATA)


_VALUES = st.one_of(
    st.none(),
    st.integers(),
    st.text(max_size=40),
    st.binary(max_size=200).map(lambda data: base64.b64encode(data).decode()),
    st.just(base64.b64encode(intel().quote()).decode()),
    st.lists(st.integers(), max_size=2),
)


@given(
    st.dictionaries(
        st.sampled_from(["quote", "cc_eventlog", "aa_eventlog", "gpu_evidence"]), _VALUES
    )
)
def test_any_object_is_read_or_refused(evidence: dict[str, Any]) -> None:
    with contextlib.suppress(AttestationRejected):
        assert replayed(evidence, quote_of(evidence)) == []


@given(st.binary(max_size=200))
def test_any_answer_is_json_or_refused(body: bytes) -> None:
    with contextlib.suppress(AttestationRejected):
        read_json(body)


@pytest.mark.parametrize("size", [0, 65])
def test_report_data_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(BadInput):
        AgentSource(OWN).evidence(bytes(size))


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1:8006",
        "http://localhost:8006",
        "https://127.0.0.1:8006",
        "http://127.0.0.1",
        "http://user@127.0.0.1:8006",
        "http://127.0.0.1:8006/aa",
        "http://127.0.0.1:x",
        "",
    ],
)
def test_an_agent_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="on this machine"):
        agent_url(url)


def test_the_fakes_log_is_the_documented_one() -> None:
    assert logs.text_log(LINES)[0].startswith(b"INIT sha384/0")
