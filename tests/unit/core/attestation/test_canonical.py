from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crag_core.attestation.canonical import canonical_json, report_data
from crag_core.errors import BadInput

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


def test_report_data_is_trustees_own_vector() -> None:
    # From the tests of Trustee's attestation service.
    assert report_data({"b": 1, "a": "test", "c": {"d": "e"}}).hex() == (
        "e71ce8e70d814ba6639c3612ebee0ff1f76f650f8dbb5e47157e0f3f525cd22c"
        "4597480a186427c813ca941da78870c3"
    )


def test_members_are_sorted_at_every_level_without_blanks_or_escapes() -> None:
    value = {"z": [{"b": 1, "a": "数字"}], "a": None}
    assert canonical_json(value) == '{"a":null,"z":[{"a":"数字","b":1}]}'.encode()


@given(JSON)
def test_canonical_json_reads_back_as_the_same_value(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(), min_size=2))
def test_the_order_of_members_does_not_matter(value: dict[str, int]) -> None:
    assert canonical_json(dict(reversed(value.items()))) == canonical_json(value)


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, {1: "a"}, {"a": {None: 1}}, b"x", {"a": {1, 2}}, "\ud800"]
)
def test_what_has_no_json_form_is_refused(value: object) -> None:
    with pytest.raises(BadInput):
        canonical_json(value)
