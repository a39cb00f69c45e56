"""Policies, reference values and the verdict that they give."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from crag_core.trustee.local.appraisal import Appraisal, appraise, submodule
from crag_core.trustee.local.codec import Malformed
from crag_core.trustee.local.folder import Folder
from crag_core.trustee.local.policies import Policies, UnknownPolicy
from crag_core.trustee.local.reference_values import ReferenceValues, read_message
from crag_core.trustee.local.rego import PolicyError, evaluate
from crag_core.trustee.local.resources import ResourceName
from crag_core.trustee.local.verifiers import Verified

EVENTS = {"software": "a" * 64, "model": "b" * 64, "configuration": "c" * 64}
KNOWN = {f"crag.{name}": [value] for name, value in EVENTS.items()}
SAMPLE = Verified(
    "sample", {"svn": "1", "measure_register": "d" * 64, "events": EVENTS}, "AA==", insecure=True
)


def shipped(tmp_path: Path) -> str:
    return Policies(Folder(tmp_path / "t")).attestation_policy("default")


def judge(policy: str, references: dict[str, list[str]], *, accept: bool = True) -> Appraisal:
    return appraise(
        SAMPLE, policy_id="default", policy=policy, references=references, accept_sample=accept
    )


def test_all_values_known_is_affirming(tmp_path: Path) -> None:
    found = judge(shipped(tmp_path), KNOWN)
    assert found.status == "affirming"
    assert found.vector == {
        "configuration": 2,
        "executables": 3,
        "file-system": 2,
        "hardware": 2,
    }


@pytest.mark.parametrize("missing", sorted(KNOWN))
def test_a_missing_or_other_value_is_not_affirming(tmp_path: Path, missing: str) -> None:
    less = {name: values for name, values in KNOWN.items() if name != missing}
    for references in (less, {**KNOWN, missing: []}, {**KNOWN, missing: ["0" * 64]}):
        assert judge(shipped(tmp_path), references).status == "warning"
    assert judge(shipped(tmp_path), {**KNOWN, missing: ["0" * 64, *KNOWN[missing]]}).status == (
        "affirming"
    )


def test_a_sample_is_contraindicated_where_none_is_accepted(tmp_path: Path) -> None:
    found = judge(shipped(tmp_path), KNOWN, accept=False)
    assert (found.status, found.vector["hardware"]) == ("contraindicated", 97)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (-1, "none"),
        (1, "none"),
        (2, "affirming"),
        (31, "affirming"),
        (32, "warning"),
        (95, "warning"),
        (96, "contraindicated"),
        (127, "contraindicated"),
        (-2, "contraindicated"),
        (-128, "contraindicated"),
    ],
)
def test_the_worst_claim_decides(value: int, status: str) -> None:
    policy = f"package policy\nhardware := 2\nexecutables := {value}"
    worst = judge(policy, {}).status
    assert worst == ("affirming" if status == "none" else status)
    assert judge(f"package policy\nhardware := {value}", {}).status == status


@pytest.mark.parametrize("value", ["128", "-129", '"2"', "true", "null", "[2]", "2.5"])
def test_a_claim_that_is_no_trust_value_is_an_error(value: str) -> None:
    with pytest.raises(PolicyError, match="trust claim"):
        judge(f"package policy\nhardware := {value}", {})


def test_a_policy_that_claims_nothing_is_an_error() -> None:
    with pytest.raises(PolicyError, match="no trust claim"):
        judge("package policy\nother := 2", {})


def test_policies_for_the_real_trustee_run_here() -> None:
    by_function = (
        "package policy\nimport rego.v1\ndefault hardware := 97\n"
        'hardware := 2 if input.sample.events.model in query_reference_value("crag.model")'
    )
    by_data = (
        "package policy\ndefault hardware = 97\n"
        'hardware = 2 { input.sample.events.model == data.reference["crag.model"][_] }'
    )
    for policy in (by_function, by_data):
        assert judge(policy, KNOWN).status == "affirming"
        assert judge(policy, {}).status == "contraindicated"


def test_the_submodule_states_what_was_bound() -> None:
    found = submodule(SAMPLE, judge("package policy\nhardware := 2", {}), {"nonce": "n"})
    evidence = found["ear.veraison.annotated-evidence"]
    assert evidence["runtime_data_claims"] == {"nonce": "n"}
    assert evidence["sample"]["events"] == EVENTS
    assert found["ear.appraisal-policy-id"] == "default"


def test_policy_errors_name_the_place_and_show_no_source() -> None:
    with pytest.raises(PolicyError) as caught:
        evaluate('package policy\nx := "secret words" +', ["x"], {}, {})
    assert "policy.rego:2" in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "backtrace" not in str(caught.value).lower()


def test_policy_ids_are_names_and_default_stays(tmp_path: Path) -> None:
    policies = Policies(Folder(tmp_path / "t"))
    policy = "package policy\nhardware := 2"
    policies.set_attestation_policy("strict", policy)
    assert policies.attestation_ids() == ["default", "strict"]
    assert policies.attestation_policy("strict") == policy
    for bad in ("", "../x", ".x", "a/b", "x\n", "x" * 65, "*"):
        with pytest.raises(UnknownPolicy):
            policies.set_attestation_policy(bad, policy)
        with pytest.raises(UnknownPolicy):
            policies.attestation_policy(bad)
    with pytest.raises(UnknownPolicy):
        policies.delete_attestation_policy("default")
    policies.delete_attestation_policy("strict")
    with pytest.raises(UnknownPolicy):
        policies.attestation_policy("strict")


def message(content: object, **change: str) -> str:
    encoded = base64.b64encode(json.dumps(content).encode()).decode()
    return json.dumps({"version": "0.1.0", "type": "sample", "payload": encoded, **change})


NOW = 1_800_000_000.0


def test_reference_values_are_registered_name_by_name(tmp_path: Path) -> None:
    references = ReferenceValues(Folder(tmp_path / "t"))
    for content in ({"a": ["1"], "b": ["2", "3"]}, {"a": ["4"]}):
        references.register(read_message(message(content), NOW).values)
    assert references.all() == {"a": ["4"], "b": ["2", "3"]}
    references.register({"b": []})
    assert references.all() == {"a": ["4"]}
    assert references.delete("a")
    assert not references.delete("a")


def test_reference_values_accept_nothing_after_their_time(tmp_path: Path) -> None:
    now = [NOW]
    references = ReferenceValues(Folder(tmp_path / "t"), clock=lambda: now[0])
    brief = read_message(message({"a": ["1"]}, expires="2027-01-16T00:00:00Z"), NOW)
    references.register(brief.values, brief.expires)
    references.register({"b": ["2"]})
    assert references.all() == {"a": ["1"], "b": ["2"]}
    now[0] = float(brief.expires)
    assert references.all() == {"b": ["2"]}
    now[0] = NOW + 365 * 86400
    assert references.all() == {}
    assert set(references.expiries()) == {"a", "b"}


def test_reference_values_of_the_earlier_form_are_read(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "t")
    folder.path("reference-values.json").write_text('{"crag.software": ["aa"]}')
    references = ReferenceValues(folder)
    assert references.all() == {"crag.software": ["aa"]}
    references.register({"b": ["1"]})
    assert references.all() == {"crag.software": ["aa"], "b": ["1"]}


UPSTREAM = """package policy
import rego.v1
trust_claims := {"executables": 3, "hardware": 2, "file-system": 2}
"""


def test_the_upstream_interface_gives_the_verdict(tmp_path: Path) -> None:
    found = judge(UPSTREAM, {})
    assert found.status == "affirming"
    assert found.vector == {"executables": 3, "file-system": 2, "hardware": 2}
    assert judge(UPSTREAM + "hardware := 2\nfile_system := 2\n", {}).status == "affirming"


@pytest.mark.parametrize(
    "policy",
    [
        UPSTREAM + "hardware := 97\n",
        UPSTREAM + "configuration := 2\n",
        UPSTREAM.replace("file-system", "file_system"),
        UPSTREAM.replace("file-system", "anything"),
        "package policy\ntrust_claims := {}",
        "package policy\ntrust_claims := true",
    ],
)
def test_two_interfaces_that_disagree_or_name_nothing_known_fail(policy: str) -> None:
    with pytest.raises(PolicyError):
        judge(policy, {})


ALLOW = """package policy
import rego.v1
default allow := false
allow if input.submods.cpu0["ear.status"] == "affirming"
"""


def test_the_nearest_resource_policy_decides_alone(tmp_path: Path) -> None:
    policies = Policies(Folder(tmp_path / "t"))
    texts = {scope: f"{ALLOW}# {scope}\n" for scope in ("", "a", "a/b", "a/b/c")}
    for scope, text in texts.items():
        policies.set_resource_policy(text, scope)
    assert policies.scopes() == ["a", "a/b", "a/b/c"]
    for name, scope in {"a/b/c": "a/b/c", "a/b/d": "a/b", "a/x/c": "a", "x/b/c": ""}.items():
        assert policies.deciding(ResourceName.parse(name)) == (scope, texts[scope])
    policies.delete_resource_policy("a/b")
    assert policies.deciding(ResourceName.parse("a/b/d")) == ("a", texts["a"])
    with pytest.raises(UnknownPolicy):
        policies.delete_resource_policy("a/b")


@pytest.mark.parametrize(
    "scope", ["..", "a/..", "a//c", "a/b/c/d", "/a", "a/", ".a", "a\n", "a/b/."]
)
def test_a_scope_cannot_leave_its_folder(tmp_path: Path, scope: str) -> None:
    policies = Policies(Folder(tmp_path / "t"))
    with pytest.raises(UnknownPolicy):
        policies.set_resource_policy(ALLOW, scope)
    with pytest.raises(UnknownPolicy):
        policies.resource_policy(scope)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        7,
        "",
        "{}",
        message({"a": ["1"]}, version="0.2.0"),
        message({"a": ["1"]}, type="slsa"),
        message({"a": ["1"]}, payload="%%%"),
        message([]),
        message({"a": "1"}),
        message({"a": [1]}),
        message({"a": [""]}),
        message({"a": ["\n"]}),
        message({"a": ["x" * 513]}),
        message({"../a": ["1"]}),
        message({"": ["1"]}),
        message({"a": ["1"]}, expires="2020-01-01T00:00:00Z"),
        message({"a": ["1"]}, expires="soon"),
    ],
)
def test_malformed_reference_values_are_refused(bad: object) -> None:
    with pytest.raises(Malformed):
        read_message(bad, NOW)
