"""Collateral carried from a machine with a PCCS to a Trustee without one, as the commands do it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote as escaped

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crag_core.errors import AttestationRejected
from crag_core.trustee import release_policy
from crag_core.trustee.kbs import KbsClient
from crag_core.trustee.local.tls import TlsFiles
from support.hardware import intel
from support.td import place as hardware_place
from support.td import td
from support.tls import certificate
from support.trustee import RESOURCE, SECRET, Place

OWNER = Path(sys.executable).parent / "crag-owner"


@pytest.fixture
def pccs() -> Iterator[str]:
    """A PCCS for the forged platform, with collateral of this minute."""
    with serving() as url:
        yield url


@contextmanager
def serving(tls: TlsFiles | None = None) -> Iterator[str]:
    """Such a PCCS, by https where ``tls`` is given."""
    data = intel().collateral(at=int(time.time()) - 60)
    info = f'{{"tcbInfo":{data["tcb_info"]},"signature":"{data["tcb_info_signature"]}"}}'
    identity = data["qe_identity"], data["qe_identity_signature"]
    enclave = f'{{"enclaveIdentity":{identity[0]},"signature":"{identity[1]}"}}'
    answers: dict[str, tuple[bytes, str, str]] = {
        "/sgx/certification/v4/pckcrl": (
            bytes.fromhex(data["pck_crl"]),
            "SGX-PCK-CRL-Issuer-Chain",
            data["pck_crl_issuer_chain"],
        ),
        "/sgx/certification/v4/rootcacrl": (data["root_ca_crl"].encode(), "x-none", ""),
        "/tdx/certification/v4/tcb": (
            info.encode(),
            "TCB-Info-Issuer-Chain",
            data["tcb_info_issuer_chain"],
        ),
        "/tdx/certification/v4/qe/identity": (
            enclave.encode(),
            "SGX-Enclave-Identity-Issuer-Chain",
            data["qe_identity_issuer_chain"],
        ),
    }

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            return

        def do_GET(self) -> None:
            body, header, chain = answers[self.path.partition("?")[0]]
            self.send_response(200)
            self.send_header(header, escaped(chain))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.context().wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = hardware_place(tmp_path / "trustee", bundle=None)
    with made.admin() as admin:
        admin.set_resource(RESOURCE, SECRET)
        admin.set_reference_values(td().references())
        admin.set_resource_policy(release_policy.write([RESOURCE]))
    yield made
    made.trustee.stop()


def run(*words: str) -> tuple[int, dict[str, Any]]:
    command = [str(OWNER), "trustee", "collateral", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, found


def signing_key(folder: Path, name: str) -> str:
    path = folder / name
    path.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(path)


def export(pccs: str, folder: Path, name: str = "bundle") -> tuple[str, str]:
    quote = folder / "quote.dat"
    quote.write_bytes(intel().quote())
    out = str(folder / f"{name}.json")
    key = signing_key(folder, f"{name}.key")
    code, found = run("export", "--quote", str(quote), "--pccs", pccs, "--key-file", key, "-o", out)
    assert code == 0, found
    assert found["platforms"] == [intel().fmspc]
    return out, found["key"]


def test_what_one_machine_exports_another_verifies_quotes_with(
    pccs: str, place: Place, tmp_path: Path
) -> None:
    with KbsClient(place.url, td()) as client, pytest.raises(AttestationRejected, match="collat"):
        client.fetch(RESOURCE)
    bundle, key = export(pccs, tmp_path)
    code, found = run("import", bundle, "--trust", key, "--dir", str(place.folder))
    assert (code, found.get("platforms")) == (0, 1)
    with KbsClient(place.url, td()) as client:
        assert client.fetch(RESOURCE) == SECRET
    # The key is remembered; a newer bundle needs no --trust.
    assert run("import", bundle, "--dir", str(place.folder))[0] == 0


def test_a_bundle_of_a_stranger_changes_nothing(pccs: str, place: Place, tmp_path: Path) -> None:
    bundle, key = export(pccs, tmp_path)
    other, _stranger = export(pccs, tmp_path, "stranger")
    assert run("import", bundle, "--trust", key, "--dir", str(place.folder))[0] == 0
    before = (place.folder / "collateral" / "bundle.json").read_bytes()
    code, found = run("import", other, "--dir", str(place.folder))
    assert code == 12, found
    assert (place.folder / "collateral" / "bundle.json").read_bytes() == before
    assert run("import", bundle, "--trust", "zz", "--dir", str(place.folder))[0] == 30
    with (place.folder / "collateral" / "trusted-keys").open("a") as stream:
        stream.write("\nno key\n")
    code, found = run("import", bundle, "--dir", str(place.folder))
    assert (code, "trusted-keys" in found["error"]["message"]) == (30, True)


def test_a_trustee_with_a_pccs_fetches_and_keeps_collateral(pccs: str, tmp_path: Path) -> None:
    made = hardware_place(tmp_path / "fetching", bundle=None, pccs=pccs)
    try:
        with made.admin() as admin:
            admin.set_resource(RESOURCE, SECRET)
            admin.set_reference_values(td().references())
            admin.set_resource_policy(release_policy.write([RESOURCE]))
        with KbsClient(made.url, td()) as client:
            assert client.fetch(RESOURCE) == SECRET
        assert list((made.folder / "collateral").glob(f"{intel().fmspc}-*-tdx.json"))
    finally:
        made.trustee.stop()


def test_a_pccs_that_signs_its_own_certificate_is_pinned(tmp_path: Path) -> None:
    files = certificate(tmp_path / "tls")
    with serving(files) as url:
        quote, key = tmp_path / "quote.dat", signing_key(tmp_path, "key")
        quote.write_bytes(intel().quote())
        out = str(tmp_path / "bundle.json")
        words = ["export", "--quote", str(quote), "--pccs", url, "--key-file", key, "-o", out]
        code, found = run(*words)
        assert (code, found["error"]["code"]) == (1, "tls-untrusted")
        code, found = run(*words, "--pccs-ca", str(files.certificate))
        assert code == 0, found
        made = hardware_place(
            tmp_path / "fetching", bundle=None, pccs=url, pccs_ca=files.certificate
        )
        try:
            with made.admin() as admin:
                admin.set_resource(RESOURCE, SECRET)
                admin.set_reference_values(td().references())
                admin.set_resource_policy(release_policy.write([RESOURCE]))
            with KbsClient(made.url, td()) as client:
                assert client.fetch(RESOURCE) == SECRET
        finally:
            made.trustee.stop()
