"""The local Trustee over https, with a certificate of an authority that the client pins."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from crag_core.attestation.evidence import SampleSource
from crag_core.errors import BadInput, CragError
from crag_core.trustee.admin import AdminClient
from crag_core.trustee.kbs import KbsClient
from crag_core.trustee.local.tls import TlsFiles
from support.trustee import RESOURCE, SECRET, Place, measurement, start


def certificate(folder: Path) -> TlsFiles:
    """A certificate of its own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a Trustee")])
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(parents=True)
    files = TlsFiles(folder / "tls.pem", folder / "tls.key")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


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


def test_files_that_don_t_belong_together_are_refused(files: TlsFiles, tmp_path: Path) -> None:
    stranger = certificate(tmp_path / "stranger")
    for broken in (
        TlsFiles(files.certificate, stranger.key),
        TlsFiles(files.key, files.certificate),
        TlsFiles(tmp_path / "none", files.key),
    ):
        with pytest.raises(BadInput):
            broken.context()
