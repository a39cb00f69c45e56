"""Who would get a key, by the policies that Trustees have."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from crag_core.errors import CragError, NotSupported, PolicyDenied, Unreachable
from crag_core.trustee import release_policy
from crag_owner.release_check import Release, judge, look, refuse_open

NAME = "default/crag/documents-key"
HEAD = "package policy\nimport rego.v1\n"


@pytest.mark.parametrize(
    "policy",
    [
        "package policy\ndefault allow = true\n",
        HEAD + "default allow := true\n",
        HEAD + "allow := true\n",
        # Upstream's default: anything but software evidence, whatever the verdict.
        HEAD + 'default allow := false\nallow if input["submods"]["cpu0"]\n',
        HEAD + 'default allow := false\nallow if contains(data["resource-path"], "documents")\n',
        HEAD + 'default allow := false\nallow if input["submods"]["cpu"]["ear.status"] != "none"\n',
        HEAD + 'default allow := false\nallow if input["tee"] == "sample"\n',
    ],
)
def test_a_policy_that_lets_anybody_in_is_found(policy: str) -> None:
    release = judge(policy, NAME)
    assert release.verdict == "anybody"
    with pytest.raises(PolicyDenied, match="not put into") as refused:
        refuse_open(release, NAME, "http://trustee")
    assert (refused.value.exit_code, refused.value.code) == (11, "policy-open")
    assert "policy apply" in refused.value.hint


@pytest.mark.parametrize(
    "policy",
    [HEAD + "default allow := false\n", release_policy.write(["default/crag/other-key"])],
)
def test_a_policy_that_lets_nobody_in_is_warned_about(policy: str) -> None:
    release = judge(policy, NAME)
    assert release.verdict == "nobody"
    assert "kbs:///default/crag/documents-key" in refuse_open(release, NAME, "http://trustee")


def test_our_own_policy_is_what_it_should_be() -> None:
    release = judge(release_policy.write([NAME]), NAME)
    assert release.verdict == "conditional"
    assert refuse_open(release, NAME, "http://trustee") == ""


def test_a_policy_that_cannot_be_read_is_unknown() -> None:
    assert judge("package policy\nallow {", NAME).verdict == "unknown"
    assert "unknown" in refuse_open(Release("unknown", "it is silent"), NAME, "http://trustee")


class Trustee:
    """What :func:`look` asks of an AdminClient."""

    def __init__(self, policies: Mapping[str, str | Exception], *, scoped: bool = True) -> None:
        self.policies = policies
        self.server = SimpleNamespace(scoped_policies=scoped)
        self.asked: list[str] = []

    def get_resource_policy(self, scope: str = "") -> str:
        self.asked.append(scope)
        found = self.policies.get(scope)
        if found is None:
            raise CragError("This part has none.", code="policy-missing")
        if isinstance(found, Exception):
            raise found
        return found


def looked(trustee: Any) -> str:
    return look(trustee, NAME).verdict


def test_the_narrowest_policy_decides() -> None:
    closed = HEAD + "default allow := false\n"
    opened = HEAD + "allow := true\n"
    assert looked(Trustee({"": closed, "default": opened})) == "anybody"
    assert looked(Trustee({"": opened, "default/crag": closed, "default": opened})) == "nobody"
    assert looked(Trustee({"": opened, NAME: release_policy.write([NAME])})) == "conditional"
    assert looked(Trustee({"": closed})) == "nobody"


def test_a_trustee_without_scopes_is_asked_once() -> None:
    plain = Trustee({"": HEAD + "allow := true\n"}, scoped=False)
    assert looked(plain) == "anybody"
    assert plain.asked == [""]


def test_a_trustee_that_shows_no_policy_is_unknown_and_a_silent_one_is_an_error() -> None:
    assert looked(Trustee({"": NotSupported("It shows none.")}, scoped=False)) == "unknown"
    with pytest.raises(Unreachable):
        looked(Trustee({NAME: Unreachable("Silent.")}))
