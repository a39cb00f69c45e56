"""The local Trustee over https, with a certificate of an authority that the client pins."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from crag_core.attestation.evidence import SampleSource
from crag_core.errors import BadInput, CragError
from crag_core.trustee.admin import AdminClient
from crag_core.trustee.kbs import KbsClient
from crag_core.trustee.local.limits import DeadlineProtocol
from crag_core.trustee.local.tls import TlsFiles
from support.tls import certificate
from support.trustee import RESOURCE, SECRET, Place, measurement, start


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    return certificate(tmp_path / "tls")


@pytest.fixture
def place(tmp_path: Path, files: TlsFiles) -> Iterator[Place]:
    made = start(tmp_path / "trustee", tls=files)
    yield made
    made.trustee.stop()


def test_keys_are_set_and_fetched_over_a_pinned_connection(place: Place, files: TlsFiles) -> None:
    assert place.url.startswith("https://")
    key = (place.folder / "admin.key").read_bytes()
    from crag_core.trustee import release_policy

    with AdminClient(place.url, key, ca=files.certificate) as admin:
        admin.set_resource(RESOURCE, SECRET)
        admin.set_reference_values(measurement().reference_values())
        admin.set_resource_policy(release_policy.write([RESOURCE]))
    with KbsClient(place.url, SampleSource(measurement()), ca=files.certificate) as client:
        assert client.fetch(RESOURCE) == SECRET


def test_another_authority_and_plain_http_get_nothing(
    place: Place, files: TlsFiles, tmp_path: Path
) -> None:
    stranger = certificate(tmp_path / "stranger")
    for ca in (stranger.certificate, None):
        with (
            KbsClient(place.url, SampleSource(measurement()), ca=ca) as client,
            pytest.raises(CragError) as error,
        ):
            client.fetch(RESOURCE)
        assert error.value.code == "tls-untrusted"
    with pytest.raises(httpx.TransportError):
        httpx.get(place.url.replace("https:", "http:") + "/health", trust_env=False)


def test_the_servers_own_certificate_can_be_pinned_without_its_authority(tmp_path: Path) -> None:
    files = certificate(tmp_path / "tls", issued=True)
    other = certificate(tmp_path / "other", issued=True)
    place = start(tmp_path / "trustee", tls=files)
    try:
        key = (place.folder / "admin.key").read_bytes()
        with AdminClient(place.url, key, ca=files.certificate) as admin:
            assert admin.list_resources() == []
        with (
            AdminClient(place.url, key, ca=other.certificate) as admin,
            pytest.raises(CragError) as error,
        ):
            admin.list_resources()
        assert error.value.code == "tls-untrusted"
    finally:
        place.trustee.stop()


def test_a_pinned_certificate_counts_for_its_own_address_only(tmp_path: Path) -> None:
    files = certificate(tmp_path / "tls", issued=True, host="127.0.0.2")
    place = start(tmp_path / "trustee", tls=files)
    try:
        with (
            KbsClient(place.url, SampleSource(measurement()), ca=files.certificate) as client,
            pytest.raises(CragError) as error,
        ):
            client.fetch(RESOURCE)
        assert error.value.code == "tls-untrusted"
    finally:
        place.trustee.stop()


def test_a_peer_that_begins_no_handshake_is_closed(
    tmp_path: Path, files: TlsFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeadlineProtocol, "header_seconds", 0.3)
    place = start(tmp_path / "trustee", tls=files)
    try:
        url = httpx.URL(place.url)
        with socket.create_connection((url.host, url.port or 0), timeout=10) as peer:
            begun = time.monotonic()
            assert peer.recv(1) == b""
            assert time.monotonic() - begun < 5
    finally:
        place.trustee.stop()


def test_files_that_don_t_belong_together_are_refused(files: TlsFiles, tmp_path: Path) -> None:
    stranger = certificate(tmp_path / "stranger")
    for broken in (
        TlsFiles(files.certificate, stranger.key),
        TlsFiles(files.key, files.certificate),
        TlsFiles(tmp_path / "none", files.key),
    ):
        with pytest.raises(BadInput):
            broken.context()
