"""Collateral from a service over HTTP, and from the cache in front of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote as escaped

import pytest

from crag_core.attestation.collateral_cache import CachedCollateral
from crag_core.attestation.pccs import PccsSource, platform_of
from crag_core.errors import BadInput, CragError, Unreachable
from support import vectors
from support.fake_intel import NOW
from support.hardware import intel, judge

FMSPC = intel().fmspc


class _Handler(BaseHTTPRequestHandler):
    collateral: ClassVar[dict[str, Any]] = intel().collateral()
    broken: ClassVar[str] = ""
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        body, header, chain = self._answer(self.path.partition("?")[0])
        known = body is not None and not self.path.endswith("fmspc=000000000000")
        if not known or self.broken == "status":
            self.send_error(404)
            return
        self.send_response(200)
        if chain and self.broken != "header":
            self.send_header(header, escaped(self.collateral[chain]))
        self.end_headers()
        self.wfile.write(b"{}" if self.broken == "body" else body or b"")

    def _answer(self, path: str) -> tuple[bytes | None, str, str]:
        data = self.collateral
        if path == "/sgx/certification/v4/pckcrl":
            raw = bytes.fromhex(data["pck_crl"])
            return raw, "SGX-PCK-CRL-Issuer-Chain", "pck_crl_issuer_chain"
        if path == "/sgx/certification/v4/rootcacrl":
            return data["root_ca_crl"].encode(), "", ""
        if path == "/tdx/certification/v4/tcb":
            text = f'{{"tcbInfo":{data["tcb_info"]},"signature":"{data["tcb_info_signature"]}"}}'
            return text.encode(), "TCB-Info-Issuer-Chain", "tcb_info_issuer_chain"
        if path == "/tdx/certification/v4/qe/identity":
            text = f'{{"enclaveIdentity":{data["qe_identity"]},'
            text += f'"signature":"{data["qe_identity_signature"]}"}}'
            chain = "qe_identity_issuer_chain"
            return text.encode(), "SGX-Enclave-Identity-Issuer-Chain", chain
        return None, "", ""

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


@contextmanager
def service(broken: str = "") -> Iterator[tuple[str, list[str]]]:
    handler = type("Handler", (_Handler,), {"broken": broken, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def test_what_a_service_gives_verifies_quotes() -> None:
    with service() as (url, asked):
        found = PccsSource(f"{url}/sgx/certification/v4/").fetch(*platform_of(intel().quote()))
    assert judge(collateral=found).verdict == "affirming"
    assert found["ca"] == "platform" and len(asked) == 4


@vectors.needed
def test_a_quote_names_the_platform_that_collateral_is_asked_for() -> None:
    quote = vectors.data("tdx/phala_tdx_quote_v4.dat")
    assert platform_of(quote) == ("B0C06F000000", "platform", "tdx")
    with pytest.raises(BadInput):
        platform_of(b"no quote")


@pytest.mark.parametrize("broken", ["status", "header", "body"])
def test_an_incomplete_answer_is_refused(broken: str) -> None:
    with service(broken) as (url, _), pytest.raises(CragError):
        PccsSource(url).fetch(FMSPC, "platform", "tdx")


def test_a_platform_that_the_service_does_not_know_is_named() -> None:
    with service() as (url, _), pytest.raises(CragError, match="404"):
        PccsSource(url).fetch("000000000000", "platform", "tdx")


def test_a_service_that_is_away_is_unreachable() -> None:
    with service() as (url, _):
        pass
    with pytest.raises(Unreachable):
        PccsSource(url).fetch(FMSPC, "platform", "tdx")


@pytest.mark.parametrize(
    "arguments",
    [("x", "platform", "tdx"), (FMSPC, "../..", "tdx"), (FMSPC, "platform", "snp")],
)
def test_arguments_that_make_no_path_are_refused(arguments: tuple[str, str, str]) -> None:
    with pytest.raises(BadInput):
        PccsSource("http://127.0.0.1:1").fetch(*arguments)


class Counting:
    """A source that counts, and can be away or refuse."""

    def __init__(self) -> None:
        self.count, self.away, self.refuses = 0, False, False

    def fetch(self, fmspc: str, ca: str, tee: str) -> dict[str, Any]:
        del fmspc, ca, tee
        self.count += 1
        if self.away:
            raise Unreachable("away")
        if self.refuses:
            raise CragError("It refuses.", code="collateral-refused")
        return intel().collateral()


def test_fresh_collateral_is_fetched_once(tmp_path: Path) -> None:
    source = Counting()
    now = [float(NOW)]
    cache = CachedCollateral(source, tmp_path, clock=lambda: now[0])
    for _ in range(3):
        assert cache.fetch(FMSPC, "platform", "tdx")["tcb_info"]
    assert source.count == 1
    now[0] += 86_401
    cache.fetch(FMSPC, "platform", "tdx")
    assert source.count == 2


def test_kept_collateral_serves_while_the_source_is_away_and_until_it_expires(
    tmp_path: Path,
) -> None:
    source = Counting()
    now = [float(NOW)]
    cache = CachedCollateral(source, tmp_path, clock=lambda: now[0])
    cache.fetch(FMSPC, "platform", "tdx")
    source.away = True
    now[0] += 10 * 86_400
    assert cache.fetch(FMSPC, "platform", "tdx")["tcb_info"]
    now[0] += 21 * 86_400
    with pytest.raises(Unreachable):
        cache.fetch(FMSPC, "platform", "tdx")


def test_kept_collateral_serves_while_the_source_refuses(tmp_path: Path) -> None:
    source = Counting()
    now = [float(NOW)]
    cache = CachedCollateral(source, tmp_path, clock=lambda: now[0])
    cache.fetch(FMSPC, "platform", "tdx")
    source.refuses = True
    now[0] += 10 * 86_400
    assert cache.fetch(FMSPC, "platform", "tdx")["tcb_info"]
    now[0] += 21 * 86_400
    with pytest.raises(CragError, match="refuses"):
        cache.fetch(FMSPC, "platform", "tdx")


def test_what_cannot_be_kept_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crag_core.attestation.collateral_cache.write_private", full)
    source = Counting()
    cache = CachedCollateral(source, tmp_path, clock=lambda: float(NOW))
    for count in (1, 2):
        assert cache.fetch(FMSPC, "platform", "tdx")["tcb_info"]
        assert source.count == count


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"tcb_info": 1})])
def test_a_damaged_file_is_fetched_again(tmp_path: Path, content: str) -> None:
    source = Counting()
    (tmp_path / f"{FMSPC}-platform-tdx.json").write_text(content)
    cache = CachedCollateral(source, tmp_path, clock=lambda: float(NOW))
    assert cache.fetch(FMSPC, "platform", "tdx")["tcb_info"] and source.count == 1


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput):
        CachedCollateral(Counting(), tmp_path).fetch("../x", "platform", "tdx")
