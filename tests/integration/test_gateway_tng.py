"""The real TNG: egress and ingress, what they verify, how they start and end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crag_core.errors import AttestationRejected, CragError, NotSupported, Unreachable
from crag_core.gateway.binary import find_tng
from crag_core.gateway.config import EgressConfig, IngressConfig
from crag_core.gateway.dump import preflight
from crag_core.gateway.endpoint import Endpoint, free_endpoint
from crag_core.gateway.ownership import listens
from crag_core.gateway.process import PortTaken, Tng, start_on_free_ports
from crag_core.gateway.status import attested_servers
from support.gateway import World, world
from support.poll import until
from support.small_as import Http, Signer, b64url_decode


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.fixture
def healthy(shared: World) -> Iterator[World]:
    shared.trustee.status, shared.trustee.policy_id = "affirming", "default"
    shared.trustee.refuse, shared.trustee.lifetime = None, 300
    shared.backend.seen.clear()
    yield shared
    assert not any(method != "GET" for method, _, _ in shared.backend.seen)


def ask_through(ingress: Tng[IngressConfig], url: str) -> httpx.Response:
    with httpx.Client(proxy=ingress.config.listen.url, trust_env=False, timeout=20) as client:
        return client.get(url)


def test_a_request_reaches_the_backend_only_through_a_verified_channel(healthy: World) -> None:
    ingress = start_on_free_ports(healthy.ingress_config)
    try:
        assert attested_servers(ingress.config.control) == []
        answer = ask_through(ingress, f"{healthy.service.url}/hello")
        assert answer.status_code == 200
        assert healthy.backend.seen == [("GET", "/hello", b"")]
        (server,) = attested_servers(ingress.config.control)
        assert server.url == healthy.service.url
        claims = json.loads(b64url_decode(server.token.split(".")[1]))
        assert claims["submods"]["cpu0"]["ear.status"] == "affirming"
    finally:
        ingress.stop()
    assert ingress.exit_reason() == "exit status 0"


def test_preflight_shows_the_verdict_and_sends_nothing_to_the_backend(healthy: World) -> None:
    proof = preflight(healthy.ingress_config(), healthy.service)
    claims = json.loads(b64url_decode(proof.token.split(".")[1]))
    evidence = claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]
    assert evidence["sample"]["measure_register"] == healthy.attester.register
    assert healthy.backend.seen == []


@pytest.mark.parametrize("status", ["warning", "contraindicated", "none"])
def test_preflight_refuses_every_verdict_but_affirming(healthy: World, status: str) -> None:
    healthy.trustee.status = status
    with pytest.raises(AttestationRejected, match=rf"verdict on cpu0 is {status}.*hardware 2"):
        preflight(healthy.ingress_config(), healthy.service)


def test_preflight_refuses_a_signer_that_is_not_pinned(healthy: World) -> None:
    config = healthy.ingress_config(anchor=Signer().ca_pem)
    with pytest.raises(AttestationRejected, match="not signed by the pinned certificate"):
        preflight(config, healthy.service)


def test_preflight_refuses_a_verdict_of_another_policy(healthy: World) -> None:
    with pytest.raises(AttestationRejected, match="another policy"):
        preflight(healthy.ingress_config(policy="strict"), healthy.service)


def test_preflight_refuses_an_expired_verdict(healthy: World) -> None:
    healthy.trustee.lifetime = -300
    with pytest.raises(AttestationRejected, match="expired"):
        preflight(healthy.ingress_config(), healthy.service)


def test_preflight_tells_why_the_trustee_refused(healthy: World) -> None:
    healthy.trustee.refuse = (422, json.dumps({"type": "x", "detail": "sample is not accepted"}))
    with pytest.raises(AttestationRejected, match=r"\(422: sample is not accepted\)"):
        preflight(healthy.ingress_config(), healthy.service)


def test_preflight_finds_the_egress_down(healthy: World) -> None:
    with pytest.raises(Unreachable, match="does not answer"):
        preflight(healthy.ingress_config(), free_endpoint())


def test_preflight_finds_the_trustee_down(healthy: World) -> None:
    config = healthy.ingress_config()
    nowhere = free_endpoint().url + "/api/attestation-service"
    gone = IngressConfig(**{**vars(config), "as_url": nowhere})
    with pytest.raises(Unreachable, match=r"Trustee at .* does not answer"):
        preflight(gone, healthy.service)


def test_preflight_gives_up_on_a_service_that_never_answers(healthy: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Unreachable, match="did not answer within 1 s"):
            preflight(healthy.ingress_config(), Endpoint("127.0.0.1", port), timeout=1.0)


class Plain(Http):
    def answer(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        return 200, "application/json", b"{}"


def test_preflight_refuses_a_plain_server(healthy: World) -> None:
    with Plain() as plain, pytest.raises(AttestationRejected, match="not an attesting gateway"):
        preflight(healthy.ingress_config(), Endpoint("127.0.0.1", plain.port))


class _NoAttestation(EgressConfig):
    """What a provider who does not want to attest would run; ours cannot say it."""

    def document(self, anchor_paths: tuple[str, ...] = ()) -> dict[str, object]:
        document = super().document(anchor_paths)
        del document["add_egress"][0]["attest"]
        document["add_egress"][0]["no_ra"] = True
        return document


def test_preflight_refuses_an_egress_that_does_not_attest(healthy: World) -> None:
    def build() -> EgressConfig:
        return _NoAttestation(**vars(healthy.egress_config()))

    egress = start_on_free_ports(build)
    try:
        with pytest.raises(AttestationRejected, match="does not attest"):
            preflight(healthy.ingress_config(), egress.config.listen)
    finally:
        egress.stop()
    assert healthy.backend.seen == []


def test_an_egress_without_its_attester_does_not_start(healthy: World) -> None:
    config = EgressConfig(**{**vars(healthy.egress_config()), "attester_url": free_endpoint().url})
    with pytest.raises(Unreachable, match="attester"):
        Tng(config).start()


def test_a_taken_port_is_told_and_another_one_is_tried(healthy: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = Endpoint("127.0.0.1", taken.getsockname()[1])
        config = IngressConfig(**{**vars(healthy.ingress_config()), "listen": busy})
        with pytest.raises(PortTaken):
            Tng(config).start()
        answers = iter([config, healthy.ingress_config()])
        tng = start_on_free_ports(lambda: next(answers))
        assert tng.alive
        tng.stop()


def test_a_stranger_on_the_control_port_is_not_taken_for_tng(healthy: World) -> None:
    """Somebody else who took the port first must not be believed when he says 'ready'."""
    with Plain() as stranger:
        busy = Endpoint("127.0.0.1", stranger.port)
        config = IngressConfig(**{**vars(healthy.ingress_config()), "control": busy})
        with pytest.raises(PortTaken):
            Tng(config).start()


def test_a_killed_tng_says_how_it_ended(healthy: World) -> None:
    tng = start_on_free_ports(healthy.ingress_config)
    os.kill(tng.pid, signal.SIGKILL)
    assert tng.wait(5)
    assert tng.exit_reason() == "killed by SIGKILL"
    tng.stop()


def test_tng_holds_its_own_ports_and_no_setting_of_ours(
    healthy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRAG_USER_SECRET", "not-for-children")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    tng = start_on_free_ports(healthy.ingress_config)
    try:
        assert listens(tng.pid, tng.config.listen)
        assert not listens(os.getpid(), tng.config.listen)
        environment = Path(f"/proc/{tng.pid}/environ").read_bytes()
        assert b"not-for-children" not in environment
        assert b"proxy" not in environment
        assert b"CERTIFICATE" not in Path(f"/proc/{tng.pid}/cmdline").read_bytes()
    finally:
        tng.stop()


def test_tng_dies_with_us_even_when_we_are_killed(healthy: World, tmp_path: Path) -> None:
    anchor = tmp_path / "ca.pem"
    anchor.write_bytes(healthy.trustee.certificate_pem)
    script = f"""
        import sys, threading, time
        from pathlib import Path
        from crag_core.gateway.config import IngressConfig
        from crag_core.gateway.endpoint import free_endpoint
        from crag_core.gateway.process import start_on_free_ports
        def build():
            return IngressConfig(listen=free_endpoint(), control=free_endpoint(),
                as_url={healthy.trustee.as_url!r}, policy_id="default",
                anchors=(Path({str(anchor)!r}).read_bytes(),))
        made = []
        starter = threading.Thread(target=lambda: made.append(start_on_free_ports(build)))
        starter.start(); starter.join()
        assert not made[0].wait(0.3), "TNG ended with the thread that asked for it"
        print(made[0].pid, flush=True)
        time.sleep(60)
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    until(lambda: not _runs(pid), 5, "the end of TNG")


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_named_program_that_is_no_tng_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CRAG_TNG", str(tmp_path / "absent"))
    with pytest.raises(NotSupported, match="absent"):
        find_tng()
    other = tmp_path / "tng"
    other.write_text("#!/bin/sh\necho tng 2.2.4\n")
    other.chmod(0o755)
    monkeypatch.setenv("CRAG_TNG", str(other))
    with pytest.raises(NotSupported, match=r"is TNG 2\.2; crag needs 2\.12"):
        find_tng()
    other.write_text("#!/bin/sh\necho hello\n")
    monkeypatch.setenv("CRAG_TNG", "/bin/true")
    with pytest.raises(NotSupported, match="is not the gateway TNG"):
        find_tng()


def test_the_program_of_the_wheel_is_found() -> None:
    assert find_tng().name == "tng"


def test_starting_twice_is_a_defect(healthy: World) -> None:
    tng = start_on_free_ports(healthy.ingress_config)
    try:
        with pytest.raises(ValueError, match="once"):
            tng.start()
    finally:
        tng.stop()


def test_a_start_that_fails_leaves_no_process(healthy: World) -> None:
    egress = EgressConfig(**{**vars(healthy.egress_config()), "attester_url": free_endpoint().url})
    tng = Tng(egress)
    with pytest.raises(CragError):
        tng.start()
    assert not tng.alive
