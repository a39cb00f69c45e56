"""What the admin does is in the audit log before it happens, or it does not happen."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from crag_core.trustee.local.administration import Administration
from crag_core.trustee.local.audit import Audit
from crag_core.trustee.local.audit_log import AuditLog
from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.policies import Policies
from crag_core.trustee.local.reference_values import ReferenceValues
from crag_core.trustee.local.replies import KbsRefusal
from crag_core.trustee.local.resources import Resources

POLICY = "package policy\nimport rego.v1\ndefault allow := false\n"


def admin_of(folder: Folder) -> Administration:
    return Administration(
        Resources(folder),
        Policies(folder),
        ReferenceValues(folder),
        Audit(folder),
        AuditLog(folder),
        "me",
    )


def rego(text: str = POLICY) -> str:
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def message(**values: list[str]) -> bytes:
    payload = base64.b64encode(json.dumps(values).encode()).decode()
    inner = {"version": "0.1.0", "type": "sample", "payload": payload}
    return json.dumps({"message": json.dumps(inner)}).encode()


# Method, its arguments, and what the log calls it.
ACTS: list[tuple[str, tuple[Any, ...], str]] = [
    ("set_resource", ("a/b/new", b"key"), "resource-set"),
    ("delete_resource", ("a/b/old",), "resource-deleted"),
    ("set_resource_policy", (json.dumps({"policy": rego()}).encode(),), "resource-policy-set"),
    (
        "set_resource_policy",
        ("fresh", json.dumps({"policy": rego()}).encode()),
        "resource-policy-set",
    ),
    ("delete_resource_policy", ("scoped",), "resource-policy-deleted"),
    (
        "set_attestation_policy",
        (
            json.dumps(
                {"policy_id": "bank", "policy": rego("package policy\nhardware := 97")}
            ).encode(),
        ),
        "attestation-policy-set",
    ),
    ("delete_attestation_policy", ("old",), "attestation-policy-deleted"),
    ("register_reference_values", (message(known=["2"]),), "reference-values-set"),
    ("delete_reference_value", ("known",), "reference-value-deleted"),
]
IMPOSSIBLE: list[tuple[str, tuple[Any, ...]]] = [
    ("set_resource", ("a/b", b"key")),
    ("set_resource", ("a/b/c", b"")),
    ("delete_resource", ("a/b/none",)),
    ("set_resource_policy", (b"{}",)),
    ("set_resource_policy", (json.dumps({"policy": rego("package policy\nallow := 1")}).encode(),)),
    ("set_resource_policy", ("a/b/c/d", json.dumps({"policy": rego()}).encode())),
    ("delete_resource_policy", ("none",)),
    ("delete_resource_policy", ("",)),
    ("set_attestation_policy", (json.dumps({"policy_id": "../x", "policy": rego()}).encode(),)),
    ("set_attestation_policy", (json.dumps({"policy": rego("no policy")}).encode(),)),
    ("delete_attestation_policy", ("default",)),
    ("delete_attestation_policy", ("none",)),
    ("register_reference_values", (b"{}",)),
    ("delete_reference_value", ("none",)),
]


def furnished(tmp_path: Path) -> tuple[Folder, Administration]:
    folder = Folder(tmp_path / "trustee")
    Resources(folder).set(next(iter(names("a/b/old"))), b"old")
    Policies(folder).set_resource_policy(POLICY, "scoped")
    Policies(folder).set_attestation_policy("old", "package policy\nhardware := 97")
    ReferenceValues(folder).register({"known": ["1"]})
    return folder, admin_of(folder)


def names(*texts: str) -> list[Any]:
    from crag_core.trustee.local.resources import ResourceName

    return [ResourceName.parse(text) for text in texts]


def state(folder: Folder) -> dict[str, bytes]:
    left_out = {"audit.jsonl", "lock"}
    files = (path for path in folder.root.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name not in left_out}


@pytest.mark.parametrize(("method", "arguments", "event"), ACTS)
def test_an_act_that_cannot_be_recorded_does_not_happen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    arguments: tuple[Any, ...],
    event: str,
) -> None:
    folder, admin = furnished(tmp_path)
    before = state(folder)
    with monkeypatch.context() as full:

        def no_space(*_arguments: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr("crag_core.trustee.local.folder.Writer.append", no_space)
        with pytest.raises(OSError, match="No space"):
            getattr(admin, method)(*arguments)
    assert state(folder) == before
    getattr(admin, method)(*arguments)
    assert state(folder) != before
    recorded = [json.loads(line) for line in folder.path("audit.jsonl").read_text().splitlines()]
    assert [line["event"] for line in recorded] == [event]
    assert recorded[0]["admin"] == "me"


@pytest.mark.parametrize(("method", "arguments"), IMPOSSIBLE)
def test_what_is_not_possible_leaves_no_line(
    tmp_path: Path, method: str, arguments: tuple[Any, ...]
) -> None:
    folder, admin = furnished(tmp_path)
    before = state(folder)
    with pytest.raises(KbsRefusal):
        getattr(admin, method)(*arguments)
    assert state(folder) == before
    assert not folder.path("audit.jsonl").exists()
