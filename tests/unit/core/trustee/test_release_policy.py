"""The resource policy that crag writes, as every version of Trustee would evaluate it."""

from __future__ import annotations

from typing import Any

import pytest

from crag_core.trustee import release_policy
from crag_core.trustee.local.rego import evaluate

POLICY = release_policy.write(["default/crag/a", "default/crag/b"])


def cpu(status: str = "affirming", policy: str = "default") -> dict[str, Any]:
    return {"ear.status": status, "ear.appraisal-policy-id": policy}


def allows(claims: dict[str, Any], path: Any, policy: str = POLICY) -> bool:
    return evaluate(policy, ["allow"], claims, {"resource-path": path}).get("allow") is True


@pytest.mark.parametrize(
    "path",
    ["resource/default/crag/a", "default/crag/b", ["default", "crag", "a"]],
)
@pytest.mark.parametrize("name", ["cpu0", "cpu"])
def test_affirmed_workloads_get_the_listed_resources(name: str, path: Any) -> None:
    assert allows({"submods": {name: cpu()}}, path)


@pytest.mark.parametrize(
    "path",
    [
        "resource/default/crag/c",
        "resource/other/default/crag/a",
        "a",
        "",
        [],
        None,
        ["default", "crag"],
        ["x", "default", "crag", "a"],
        "default/crag",
    ],
)
def test_other_resources_are_denied(path: Any) -> None:
    assert not allows({"submods": {"cpu0": cpu()}}, path)


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"submods": {}},
        {"submods": {"cpu0": cpu("warning")}},
        {"submods": {"cpu0": cpu("contraindicated")}},
        {"submods": {"cpu0": cpu("none")}},
        {"submods": {"cpu0": cpu(policy="other")}},
        {"submods": {"cpu0": cpu(), "gpu0": cpu("warning")}},
        {"submods": {"cpu0": cpu(), "gpu0": {}}},
        {"submods": {"gpu0": cpu()}},
        {"submods": {"cpu0": {"ear.status": "affirming"}}},
        {"tee": "tdx", "evaluation-reports": [{"policy-id": "default"}]},
    ],
)
def test_other_workloads_are_denied(claims: dict[str, Any]) -> None:
    assert not allows(claims, "resource/default/crag/a")


def test_what_was_written_is_read_back() -> None:
    assert release_policy.read(POLICY) == ["default/crag/a", "default/crag/b"]
    assert release_policy.read(release_policy.write([])) == []
    assert not allows({"submods": {"cpu0": cpu()}}, "a/b/c", release_policy.write([]))


def test_an_edited_policy_is_not_taken_for_ours() -> None:
    for other in (
        POLICY.replace('"default/crag/a"', '"default/crag/z"', 1),
        POLICY + "allow if true\n",
        POLICY.replace("affirming", "warning"),
        "# crag resources: [not json]\npackage policy",
        "",
    ):
        assert release_policy.read(other) is None


def test_only_a_policy_without_rules_counts_as_denying_all() -> None:
    assert release_policy.denies_all("package policy\nimport rego.v1\ndefault allow := false\n")
    assert release_policy.denies_all("# x\npackage policy\n\ndefault allow = false # y\n")
    assert not release_policy.denies_all("package policy\ndefault allow := true\n")
    assert not release_policy.denies_all(POLICY)
    assert not release_policy.denies_all("package policy\ndefault allow := false\nallow := true")
