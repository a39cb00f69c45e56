"""Who is admitted: the link judges the verdict that TNG holds, for every request."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from typing import Any

import pytest

from crag_core.errors import AttestationRejected, CragError
from crag_core.gateway.endpoint import Endpoint
from crag_core.gateway.status import AttestedServer
from crag_user import link as module
from crag_user.guard.upstream import GatewayGone
from crag_user.link import Link
from crag_user.service import Service
from crag_user.trust import Trust
from support.small_as import PROFILE, Signer

SIGNER, STRANGER = Signer(), Signer()
KEY = "ab" * 32
URL = "http://10.0.0.1:20001"


def token(
    key: str = KEY, *, by: Signer = SIGNER, tee: str = "sample", age: int = 0, **cpu: Any
) -> str:
    listed = base64.b64encode(b"\x00\x2d\x00\x00\x20" + bytes.fromhex(key) + b"\x00\x08").decode()
    issued = int(time.time()) - age
    submod = {
        "ear.status": "affirming",
        "ear.trustworthiness-vector": {"hardware": 2, "executables": 3},
        "ear.appraisal-policy-id": "default",
        "ear.veraison.annotated-evidence": {
            tee: {"svn": "1"},
            "runtime_data_claims": {
                "challenge_token": "t",
                "hpke_key_config": {"encoded_key_config_list": listed, "expire_timestamp": 1},
            },
        },
        **cpu,
    }
    claims = {"eat_profile": PROFILE, "iat": issued, "exp": issued + 300}
    return by.sign({**claims, "submods": {"cpu0": submod}})


def trust(insecure: bool = True) -> Trust:
    return Trust("http://t", "http://t/api", (SIGNER.ca_pem,), "default", insecure)


Answers = Callable[[], list[AttestedServer]]


def link(monkeypatch: pytest.MonkeyPatch, answers: Answers, insecure: bool = True) -> Link:
    """A link whose TNG reports ``answers()``; probes are counted in ``probes``."""
    made = Link(Service.parse(URL), trust(insecure))
    probes: list[int] = []

    async def probe() -> None:
        probes.append(1)

    monkeypatch.setattr(made, "_control", lambda: Endpoint("127.0.0.1", 1))
    monkeypatch.setattr(made, "_probe", probe)
    monkeypatch.setattr(made, "probes", probes, raising=False)
    monkeypatch.setattr(module.status, "attested_servers", lambda _control: answers())
    return made


def probes(made: Link) -> int:
    return len(made.__dict__["probes"])


def admit(made: Link) -> Any:
    return asyncio.run(made.admit())


def test_a_verdict_on_the_channels_own_key_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    made = link(monkeypatch, lambda: [AttestedServer(URL, KEY, token())])
    assert admit(made).insecure
    assert probes(made) == 0


def test_hardware_needs_no_flag_and_software_does(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = token(tee="tdx")
    made = link(monkeypatch, lambda: [AttestedServer(URL, KEY, hardware)], insecure=False)
    assert not admit(made).insecure
    software = token()
    made = link(monkeypatch, lambda: [AttestedServer(URL, KEY, software)], insecure=False)
    with pytest.raises(AttestationRejected, match="made by software"):
        admit(made)


@pytest.mark.parametrize(
    "server",
    [
        AttestedServer(URL, "cd" * 32, token()),
        AttestedServer(URL, "", token()),
        AttestedServer(URL, "ab", token()),
        AttestedServer(URL, "zz" * 32, token()),
        AttestedServer(URL, KEY, ""),
        AttestedServer(URL, KEY, "a.b.c"),
        AttestedServer(URL, KEY, token(by=STRANGER)),
        AttestedServer(URL, KEY, token(age=1000)),
        AttestedServer(URL, KEY, token(**{"ear.status": "warning"})),
        AttestedServer(URL, KEY, token(**{"ear.appraisal-policy-id": "lax"})),
    ],
)
def test_any_other_verdict_is_refused(
    monkeypatch: pytest.MonkeyPatch, server: AttestedServer
) -> None:
    with pytest.raises(AttestationRejected):
        admit(link(monkeypatch, lambda: [server]))


def test_one_bad_verdict_among_good_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    servers = [AttestedServer(URL, KEY, token()), AttestedServer(URL, "cd" * 32, token())]
    with pytest.raises(AttestationRejected):
        admit(link(monkeypatch, lambda: servers))


def test_a_verdict_on_another_server_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    other = AttestedServer("http://10.0.0.2:20001", KEY, token())
    made = link(monkeypatch, lambda: [other])
    with pytest.raises(AttestationRejected, match="no valid verdict"):
        admit(made)
    assert probes(made) == 1


def test_nobody_known_yet_is_verified_first(monkeypatch: pytest.MonkeyPatch) -> None:
    good = token()
    made = link(monkeypatch, lambda: [AttestedServer(URL, KEY, good)] if probes(made) else [])
    assert admit(made).report.verdict == "affirming"
    assert probes(made) == 1


def test_a_verdict_that_has_expired_since_is_not_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    good = token()
    made = link(monkeypatch, lambda: [AttestedServer(URL, KEY, good)])
    admit(made)
    later = time.time() + 400
    monkeypatch.setattr(module.time, "time", lambda: later)
    with pytest.raises(AttestationRejected, match="no valid verdict"):
        admit(made)
    assert probes(made) == 1


def test_the_same_verdict_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    good = token()
    made = link(monkeypatch, lambda: [AttestedServer(URL, KEY, good)])
    assert admit(made) is admit(made)


def test_a_gateway_that_never_started_admits_nobody() -> None:
    made = Link(Service.parse(URL), trust())
    with pytest.raises(GatewayGone, match="not started"):
        admit(made)
    with pytest.raises(CragError):
        _ = made.ingress
