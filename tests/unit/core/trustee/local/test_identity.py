"""Keys and certificates: made once, kept, renewed, and in the shape that TNG checks."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification

from crag_core.errors import BadInput
from crag_core.trustee.local.codec import b64url_decode
from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.identity import SIGNER_VALID, load


def test_an_identity_is_made_once_and_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    first, second = load(folder), load(folder)
    assert (first.ca, first.signer, first.admin_id) == (second.ca, second.signer, second.admin_id)


def test_the_signer_is_a_leaf_under_a_ca_that_a_verifier_accepts(tmp_path: Path) -> None:
    made = load(Folder(tmp_path / "t"))
    signer = made.signer.extensions.get_extension_for_class(x509.BasicConstraints).value
    ca = made.ca.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (signer.ca, ca.ca, ca.path_length) == (False, True, 0)
    made.signer.verify_directly_issued_by(made.ca)
    authority = verification.ExtensionPolicy.webpki_defaults_ca()
    leaf = verification.ExtensionPolicy.permit_all()
    chain = (
        verification.PolicyBuilder()
        .store(verification.Store([made.ca]))
        .extension_policies(ca_policy=authority, ee_policy=leaf)
        .build_client_verifier()
        .verify(made.signer, [])
        .chain
    )
    assert [c.subject for c in chain] == [made.signer.subject, made.ca.subject]


def test_the_jwk_carries_the_chain_and_the_leafs_key(tmp_path: Path) -> None:
    made = load(Folder(tmp_path / "t"))
    jwk = made.jwk()
    x5c = jwk["x5c"]
    assert isinstance(x5c, list)
    leaf, ca = (x509.load_der_x509_certificate(b64url_decode(c)) for c in x5c)
    assert (leaf, ca) == (made.signer, made.ca)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert b64url_decode(jwk["x"]) == key.public_numbers().x.to_bytes(32, "big")
    assert b64url_decode(jwk["y"]) == key.public_numbers().y.to_bytes(32, "big")
    assert jwk["alg"] == "ES256"


def test_the_signer_is_renewed_under_the_same_ca_before_it_expires(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    first = load(folder)
    soon = dt.datetime.now(dt.UTC) + SIGNER_VALID - dt.timedelta(days=10)
    later = load(folder, now=soon)
    assert later.ca == first.ca
    assert later.signer != first.signer
    assert later.signer.not_valid_after_utc > soon + dt.timedelta(days=300)


@pytest.mark.parametrize("name", ["admin.key", "ca.key", "ca.pem", "signer.key", "signer.pem"])
def test_a_broken_file_is_named_and_not_replaced(tmp_path: Path, name: str) -> None:
    folder = Folder(tmp_path / "t")
    load(folder)
    (folder.root / name).write_bytes(b"-----BEGIN nonsense")
    with pytest.raises(BadInput, match=name):
        load(folder)
    assert (folder.root / name).read_bytes() == b"-----BEGIN nonsense"


def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    one, two = Folder(tmp_path / "1"), Folder(tmp_path / "2")
    load(one), load(two)
    (one.root / "ca.pem").write_bytes((two.root / "ca.pem").read_bytes())
    with pytest.raises(BadInput, match=r"ca\.pem doesn't belong to ca\.key"):
        load(one)


def test_a_foreign_public_key_alone_is_obeyed_only_if_it_is_ed25519(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    first = load(folder)
    (folder.root / "admin.key").unlink()
    assert load(folder).admin_id == first.admin_id
    (folder.root / "admin.pub").write_bytes(b"x")
    with pytest.raises(BadInput, match=r"admin\.pub"):
        load(folder)
