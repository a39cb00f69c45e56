"""The owner's key and anchor on their way into the owner's Trustee."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crag_owner import keyfile
from support.owner import Owner, free_port, server_folder


@dataclass
class Place:
    """An owner with one document, and a running Trustee of theirs."""

    owner: Owner
    ready: dict[str, Any]

    def resource(self, name: str) -> Path:
        return self.owner.home / "trustee" / "resources" / "default" / "crag" / name

    def anchor(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.resource("documents-snapshot").read_bytes())
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    with server_folder() as folder:
        owner = Owner(folder / "home", folder)
        (folder / "docs").mkdir()
        (folder / "docs" / "a.txt").write_text("A text about tea.")
        serve = ("trustee", "serve", "--listen", "127.0.0.1:0", "--json")
        owner.ok("database", "start")
        try:
            with owner.started(*serve) as trustee:
                assert trustee.stdout is not None
                yield Place(owner, json.loads(trustee.stdout.readline()))
        finally:
            owner.ok("database", "stop")


def test_key_and_anchor_lie_in_the_trustee_as_the_provider_expects_them(place: Place) -> None:
    owner = place.owner
    report = owner.ok("ingest", "docs")
    pushed = owner.ok("key", "push")
    assert pushed["resource"] == "kbs:///default/crag/documents-key"
    assert pushed["snapshot_resource"] == "kbs:///default/crag/documents-snapshot"
    assert pushed["check_value"] == owner.ok("key", "show")["check_value"]
    raw = place.resource("documents-key").read_bytes()
    assert len(raw) == 32
    anchor = place.anchor()
    assert anchor["sequence"] == report["snapshot"]["sequence"]
    assert anchor["root"] == report["snapshot"]["root"]
    assert raw == keyfile.load(str(owner.home / "keys" / "master.key")).raw


def test_ingest_and_delete_keep_the_anchor_in_the_trustee_new(place: Place) -> None:
    owner = place.owner
    owner.settings["CRAG_TRUSTEE"] = place.ready["url"]
    owner.settings["CRAG_TRUSTEE_ADMIN_KEY_FILE"] = place.ready["admin_key"]
    first = owner.ok("ingest", "docs")["snapshot"]
    assert place.anchor()["sequence"] == first["sequence"]
    (owner.work / "docs" / "b.txt").write_text("Another text.")
    second = owner.ok("ingest", "docs")["snapshot"]
    assert place.anchor()["root"] == second["root"]
    third = owner.ok("delete", "docs/b.txt")["snapshot"]
    assert place.anchor()["sequence"] == third["sequence"] == second["sequence"] + 1
    assert not place.resource("documents-key").exists()


def test_a_key_can_be_pushed_before_there_is_a_collection(place: Place) -> None:
    owner = place.owner
    owner.ok("key", "new")
    options = ["--trustee", place.ready["url"], "--resource", "kbs:///default/crag/master-key"]
    done = owner.run("key", "push", *options, "--json")
    assert done.code == 0, done.err
    assert done.json["snapshot_resource"] is None
    assert "push again" in done.err
    assert place.resource("master-key").exists()


def test_a_trustee_that_is_down_exits_75_and_what_was_ingested_stays(place: Place) -> None:
    owner = place.owner
    url = f"http://127.0.0.1:{free_port()}/api"
    done = owner.run("ingest", "docs", "--trustee", url, "--json")
    assert done.code == 75
    assert done.error["code"] == "unreachable"
    assert len(owner.ok("list")["documents"]) == 1
    again = owner.ok("ingest", "docs", "--trustee", place.ready["url"])
    assert again["documents"]["unchanged"] == 1
    assert place.anchor()["sequence"] == again["snapshot"]["sequence"]


def test_the_wrong_admin_key_is_refused(place: Place, tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as forms
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    other = tmp_path / "other.key"
    other.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            forms.Encoding.PEM, forms.PrivateFormat.PKCS8, forms.NoEncryption()
        )
    )
    owner = place.owner
    owner.ok("key", "new")
    done = owner.run("key", "push", "--trustee-admin-key-file", str(other), "--json")
    assert done.code != 0
    assert not place.resource("documents-key").exists()


def test_a_key_that_nobody_would_get_is_put_there_with_a_warning(place: Place) -> None:
    owner = place.owner
    owner.ok("key", "new")
    done = owner.run("key", "push", "--json")
    assert (done.code, done.json["released_to"]) == (0, "nobody")
    assert "policy apply" in done.err
    assert "kbs:///default/crag/documents-key" in done.err


def test_a_key_that_anybody_would_get_is_not_put_there(place: Place) -> None:
    owner = place.owner
    owner.ok("key", "new")
    policy = owner.home / "trustee" / "resource-policy.rego"
    # The local Trustee takes no such policy; somebody edited its file.
    policy.write_text("package policy\nimport rego.v1\ndefault allow := true\n")
    done = owner.run("key", "push", "--json")
    assert (done.code, done.error["code"]) == (11, "policy-open")
    assert "policy apply" in done.error["hint"]
    assert not place.resource("documents-key").exists()
