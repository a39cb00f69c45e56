"""The provider's commands on a TD: a fake kernel or agent, a forged Intel that the Trustees trust,
and everything else real. Evidence is pinned by 'trustee policy write', keys are released to it."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from crag_core.attestation.aael import events_of
from crag_core.attestation.canonical import report_data
from crag_core.attestation.ccel import parse_ccel
from crag_core.attestation.tdx_evidence import verify_tdx_evidence
from crag_core.trustee.local.resources import ROOT
from support import td
from support.fake_agent import FakeAgent
from support.fake_kernel import FakeKernel
from support.fuse import usable
from support.hardware import anchors, intel
from support.provider import DATA_KEY, MODEL_KEY, Serving, World, admin, world

pytestmark = pytest.mark.skipif(
    not usable(), reason="no file system can be mounted here (/dev/fuse as root)"
)
SNAPSHOT = DATA_KEY.replace("-key", "-snapshot")
NOBODY = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeKernel]:
    with FakeKernel(tmp_path_factory.mktemp("kernel") / "sys") as mounted:
        yield mounted


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, kernel: FakeKernel) -> Iterator[World]:
    """A world whose Trustees release keys to what 'attest' shows on this TD."""
    with world(tmp_path_factory.mktemp("td"), trustee=td.place) as made:
        made.provider.settings.pop("CRAG_PROVIDER_INSECURE_SAMPLE_EVIDENCE")
        made.provider.settings["CRAG_PROVIDER_SYS_ROOT"] = str(kernel.root)
        made.provider.settings["CRAG_PROVIDER_AGENT_URL"] = NOBODY
        pin(made)
        yield made


@pytest.fixture(autouse=True)
def started(kernel: FakeKernel, place: World) -> None:
    """The TD as it is after its start."""
    kernel.restart()


def pin(where: World) -> None:
    """Write policies from the measurement, for review, and put them in force at both Trustees."""
    measured = where.provider.ok("attest")
    assert (measured["tee"], measured["source"], measured["insecure"]) == ("tdx", "tdx", False)
    path = where.folder / "measurement.json"
    path.write_text(json.dumps(measured))
    for trustee, names in ((where.owners, [DATA_KEY, SNAPSHOT]), (where.providers, [MODEL_KEY])):
        folder = str(trustee.folder / "policies")
        wanted = [word for name in names for word in ("--resource", name)]
        write = ("trustee", "policy", "write", "--measurement", str(path), "-o", folder)
        where.provider.ok(*write, *wanted)
        where.provider.ok("trustee", "policy", "apply", "--from", folder, *admin(trustee))


def refused(where: World, *arguments: str) -> dict[str, Any]:
    """The error of a ``serve`` that does not come up."""
    point = where.provider.work / f"point-{secrets.token_hex(4)}"
    done = where.provider.run("serve", "--json", "--mount-point", str(point), *arguments)
    assert done.code in (10, 11), (done.code, done.out, done.err)
    found: dict[str, Any] = done.json["error"]
    return found


def ask(up: Serving) -> dict[str, Any]:
    question = {"question": "Who opened the Lind bridge?"}
    reply = httpx.post(f"{up.api}/rag/query", json=question, trust_env=False, timeout=120)
    assert reply.status_code == 200 and "Anna Lind" in reply.json()["answer"], reply.text
    found: dict[str, Any] = reply.json()
    return found


def attested(up: Serving) -> dict[str, str]:
    """What fresh evidence of the service measures, after judging it as a stranger would."""
    nonce = "bm9uY2Utb2YtYS11c2Vy"
    shown = httpx.get(f"{up.api}/attestation?nonce={nonce}", trust_env=False, timeout=60).json()
    evidence = json.loads(base64.urlsafe_b64decode(shown["evidence"] + "=="))
    now = int(time.time())
    verdict = verify_tdx_evidence(
        evidence,
        report_data(shown["runtime_data"]),
        intel().collateral(at=now - 60),
        now,
        anchors=anchors(),
    )
    assert verdict.verdict == "affirming", verdict.failure
    assert (shown["tee"], shown["insecure"]) == ("tdx", False)
    told = events_of(parse_ccel(base64.b64decode(evidence["cc_eventlog"])))
    assert [event.operation for event in told if event.domain == "crag"] == [
        "software",
        "model",
        "configuration",
    ]
    return dict(verdict.measurements)


def test_a_measured_td_gets_its_keys_and_measures_once(place: World, kernel: FakeKernel) -> None:
    for _start in range(2):
        with place.provider.serving() as up:
            assert up.facts["insecure"] is False
            receipt = ask(up)["receipt"]
            assert receipt["evidence"] == {"tee": "tdx", "measurement": attested(up)["rtmr3"]}
        assert len(kernel.seen()["extended"]) == 3
    released = [entry for entry in place.owners.audit() if entry["event"] == "released"]
    assert released and all(entry["tee"] == "tdx" for entry in released)
    assert kernel.seen()["entries"] == []


def test_attesting_changes_nothing_of_the_machine(place: World, kernel: FakeKernel) -> None:
    shown = place.provider.ok("attest")
    assert kernel.seen()["extended"] == [] and kernel.seen()["entries"] == []
    assert shown["reference_values"]["tdx.mr_td"] == ["11" * 48]
    assert len(shown["measurement"]["register"]) == 96


def test_a_quote_that_intel_never_signed_is_not_pinned(place: World) -> None:
    collateral = place.folder / "collateral.json"
    collateral.write_text(json.dumps(intel().collateral(at=int(time.time()) - 60)))
    words = ("--measurement", str(place.folder / "measurement.json"), "--resource", DATA_KEY)
    write = ("trustee", "policy", "write", *words, "-o", str(place.folder / "forged"))
    assert "was not verified" in place.provider.run(*write).err
    done = place.provider.run(*write, "--collateral", str(collateral), "--json")
    assert done.code == 10 and "measurement.json is refused" in done.json["error"]["message"]


def test_a_changed_setting_gets_no_key(place: World, kernel: FakeKernel) -> None:
    found = refused(place, "--passages", "6")
    assert len(kernel.seen()["extended"]) == 3, found
    # What was measured stays measured: the right service has to wait for a new start as well.
    again = refused(place)
    assert again["code"] == "register-foreign" and len(kernel.seen()["extended"]) == 3


def test_a_machine_on_which_others_measure_gets_no_key(place: World, kernel: FakeKernel) -> None:
    kernel.extend(b"another program")
    assert refused(place)["code"] == "register-foreign"
    assert len(kernel.seen()["extended"]) == 1


def test_software_alone_gets_no_key_where_hardware_is_pinned(place: World) -> None:
    words = ("--insecure-sample-evidence", "--evidence", "sample", "--sys-root", "/nowhere")
    refused(place, *words)


def test_an_agents_evidence_of_the_same_measurement_gets_the_keys(place: World) -> None:
    with FakeAgent() as agent:
        words = ("--evidence", "agent", "--agent-url", agent.url)
        with place.provider.serving(*words) as up:
            assert ask(up)["receipt"]["evidence"]["measurement"] == attested(up)["rtmr3"]
        assert [line.split(" ")[1] for line in agent.lines] == [
            "software",
            "model",
            "configuration",
        ]


def test_keys_come_from_the_agents_data_hub(place: World) -> None:
    with FakeAgent() as agent:
        for keeper, name in (
            (place.providers, MODEL_KEY),
            (place.owners, DATA_KEY),
            (place.owners, SNAPSHOT),
        ):
            path = name.removeprefix("kbs:///")
            agent.resources[path] = (keeper.folder / ROOT / path).read_bytes()
        trustee = place.providers.url
        words = ("--key-source", "cdh", "--agent-url", agent.url, "--alt-trustee-url", trustee)
        with place.provider.serving(*words) as up:
            assert ask(up)["citations"]
        assert len(agent.lines) == 3
